"""Proteus's profile: models x {Xeon 6126, GTX 1080 Ti, a slot of a V100} x batch sizes.

Source: UMass-LIDS/Proteus, profiling/aggregate_profiled.csv; licence "comparison only": never copied.
"""

from __future__ import annotations

from collections.abc import Sequence

from registry.tables.cleaning import Points, Table, without_flat_batching, without_outliers
from registry.tables.curve import Curve, Device, points

COLUMNS = {"Model", "Accel", "batchsize", "50th_pct", "90th_pct", "avg_latency(ms)", "Accuracy"}
DEVICES = {
    "onnxruntime_cpu": Device(pool="proteus-cpu", hardware="cpu"),
    "onnxruntime_gpu_pascal": Device(pool="proteus-1080ti", hardware="gpu"),
    "onnxruntime_gpu_ampere": Device(pool="proteus-v100", hardware="gpu"),  # a V100, whatever the column says
}
VISION = ("densenet", "efficientnet", "mobilenet", "resnest", "resnet")
SWAPPED = {"yolov5m": "yolov5s", "yolov5s": "yolov5m"}  # the smaller network has the larger accuracy


def read(rows: Sequence[dict[str, str]], name: str) -> Table:
    table = Table(name)
    accuracy = {row["Model"]: float(row["Accuracy"]) / 100 for row in rows}
    for one, other in SWAPPED.items():
        if accuracy.get("yolov5s", 0.0) > accuracy.get("yolov5m", 1.0):
            table.clean("accuracies swapped back: the smaller network had the larger", f"{one} from {other}")
    if table.cleaned:
        accuracy |= {one: accuracy[other] for one, other in SWAPPED.items()}
    measured: dict[tuple[str, str], Points] = {}
    for row in rows:
        model, accel, batch = row["Model"], row["Accel"], int(row["batchsize"])
        told = f"{model} on {_pool(accel)}"
        curve = measured.setdefault((model, accel), {})
        if batch in curve:
            table.clean("dropped: measured twice, the first kept", f"{told} b{batch}")
            continue
        p50 = float(row["50th_pct"] or row["avg_latency(ms)"])
        if not row["90th_pct"]:
            table.clean("no p90 given: the mean stands for all quantiles", f"{told} b{batch}")
        mean = float(row["avg_latency(ms)"])
        curve[batch] = (p50, max(float(row["90th_pct"] or 0.0), p50, mean))
    for (model, accel), curve in measured.items():
        if accel not in DEVICES:
            table.clean("dropped: an unknown accelerator", f"{model} on {accel}")
            continue
        told = f"{model} on {_pool(accel)}"
        kept = without_outliers(curve, told, table)
        if _task(model) not in ("image-classification", "object-detection"):
            kept = without_flat_batching(kept, told, table)
        table.curves.append(
            Curve(
                architecture=model.removesuffix("_v1"), task=_task(model), device=DEVICES[accel],
                accuracy=accuracy[model], points=points([(batch, *ms) for batch, ms in kept.items()]), source="Proteus",
            )
        )  # fmt: skip
    table.clean("p99 is the table's p90, or its mean where that is larger", "all")
    table.clean("load time and memory are not given: 0, not measured", "all")
    return table


def _pool(accel: str) -> str:
    return DEVICES[accel].pool if accel in DEVICES else accel


def _task(model: str) -> str:
    if model.startswith("yolo"):
        return "object-detection"
    if model.startswith(VISION):
        return "image-classification"
    if model.startswith("t5"):
        return "translation"
    return "text-generation" if model.startswith("gpt2") else "sentiment"
