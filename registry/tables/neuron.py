"""AWS Neuron's benchmark tables for Inferentia: throughput and latency of a model on one instance.

Batches are compiled, so a smaller one is padded and costs the same: a curve below its batch is flat, and that is right.
Source: aws-neuron/aws-neuron-sdk, general/benchmarks (CC BY-SA 4.0).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from registry.records import Hardware
from registry.tables.cleaning import Points, Table
from registry.tables.curve import Curve, Device, points

CORES = {"inf1.xlarge": 4, "inf1.2xlarge": 4, "inf1.6xlarge": 16, "inf1.24xlarge": 64,
         "inf2.xlarge": 2, "inf2.8xlarge": 2, "inf2.24xlarge": 12, "inf2.48xlarge": 24}  # fmt: skip
COLUMNS = {"Model", "Inst. Type", "Batch Size", "Neuron Version"}
PRICE_COLUMNS = {"Inst. Type", "RI-Effective hourly rate"}
RATES = ("Avg Throughput (/sec)", "Throughput (inference/second)", "Throughput (inference/sec)")
SHARED = 1.3  # longer than a core takes by itself by more than this: two workers wait for one core
NAMES = {"bert-base": "bert-base-uncased", "yolo-v4": "yolov4", "resnet-50": "resnet50"}


def prices(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """USD an hour by instance type, with a reserved instance."""
    return {row["Inst. Type"].lower(): float(row["RI-Effective hourly rate"]) for row in rows}


def read(rows: Sequence[Mapping[str, str]], name: str, usd_hour: Mapping[str, float]) -> Table:
    table = Table(name)
    newest: dict[tuple[str, str, str, int], tuple[tuple[int, ...], float, float]] = {}
    for row in rows:
        instance, batch = row["Inst. Type"].lower(), int(row["Batch Size"])
        told = f"{row['Model']} on {instance}, b{batch}"
        rate = next((float(row[column]) for column in RATES if row.get(column)), 0.0)
        p50, p99 = (float(row.get(f"Latency {p} (ms)") or 0.0) for p in ("P50", "P99"))
        if instance not in CORES or rate <= 0 or p50 <= 0:
            table.clean("dropped: no throughput, no latency or an unknown instance", told)
            continue
        if "pipeline" in row.get("Run Mode", "").lower():
            table.clean("dropped: one model over all cores of the instance, not one a core", told)
            continue
        core_ms = 1_000 * CORES[instance] * batch / rate
        if p50 > SHARED * core_ms:
            table.clean(
                "several workers share a core: the core's own time, cores x batch / throughput",
                f"{told}: {core_ms:.1f} for {p50:.1f} ms",
            )
            p50, p99 = core_ms, p99 * core_ms / p50
        version = tuple(int(part) for part in re.findall(r"\d+", row["Neuron Version"]))
        key = (_architecture(row), _precision(row), instance, batch)
        if key in newest:
            table.clean("measured by several releases: the newest counts", told)
            if newest[key][0] >= version:
                continue
        newest[key] = (version, p50, p99)
    _curves(table, newest, usd_hour)
    if table.curves:
        table.clean("no accuracy given", "all")
    return table


def _curves(
    table: Table,
    newest: Mapping[tuple[str, str, str, int], tuple[tuple[int, ...], float, float]],
    usd_hour: Mapping[str, float],
) -> None:
    curves: dict[tuple[str, str, str], Points] = {}
    for (architecture, precision, instance, batch), (_, p50, p99) in newest.items():
        curves.setdefault((architecture, precision, instance), {})[batch] = (p50, p99)
    for (architecture, precision, instance), measured in curves.items():
        hardware: Hardware = "inf1" if instance.startswith("inf1") else "inf2"
        if instance not in usd_hour:
            table.clean("no price: 0 until its price file is imported with it", instance)
        device = Device(
            pool=instance.replace(".", "-"), hardware=hardware, lanes=CORES[instance],
            usd_hour=usd_hour.get(instance, 0.0),
        )  # fmt: skip
        table.curves.append(
            Curve(
                architecture=architecture, task=_task(architecture), device=device, precision=precision,
                points=points([(batch, *ms) for batch, ms in measured.items()]), source="AWS Neuron",
            )
        )  # fmt: skip


def _architecture(row: Mapping[str, str]) -> str:
    """The name in brackets where there is one, such as `BERT base (bert-base-cased)`; else among the details."""
    named = re.search(r"\(([^)]+)\)", row["Model"]) or re.search(
        r"[a-z]+bert-[a-z-]+|bert-[a-z-]+", row.get("Model details") or ""
    )
    name = (named.group(1) if named and named.lastindex else named.group(0)) if named else row["Model"]
    name = name.strip().lower().replace(" ", "-")
    return NAMES.get(name, name)


def _precision(row: Mapping[str, str]) -> str:
    if row.get("Compilation Autocast Data Type"):
        return "bf16" if "BF16" in row["Compilation Autocast Data Type"] else "fp32"
    return "fp16" if "fp16" in (row.get("Model details") or "") else "fp32"


def _task(architecture: str) -> str:
    for names, task in (
        (("yolo", "ssd"), "object-detection"), (("unet",), "image-segmentation"), (("openpose",), "pose-estimation"),
        (("resnet", "vgg"), "image-classification"),
    ):  # fmt: skip
        if architecture.startswith(names):
            return task
    return "sentiment"
