"""INFless's profiles: model, CPU threads, GPU per cent (0: CPU only), batch, latency ms; no header.

Source: TankLabTJU/INFless, profiler/ (GPL-3.0): never copied. RTX 2080 Ti, TF-Serving.
"""

from __future__ import annotations

from collections.abc import Sequence

from registry.tables.cleaning import Points, Table, without_outliers
from registry.tables.curve import Curve, Device, points

CPU = Device(pool="infless-cpu", hardware="cpu", lanes=16)
GPU = Device(pool="infless-2080ti", hardware="gpu", lanes=10)  # tenths
GPU_STEP = 10  # per cent of a lane
FAILED_MS = 9_999.0  # the profiler writes this, or the client's time-out of about 20 s, for a run that failed
TASKS = {
    "catdog": "image-classification", "mobilenet": "image-classification", "resnet-50": "image-classification",
    "ssd": "object-detection", "lstm-maxclass-2365": "text-classification", "textcnn-69": "text-classification",
}  # fmt: skip


def read(rows: Sequence[Sequence[str]], name: str) -> Table:
    """Rows of five words each. Raises: ValueError on one that is not."""
    table = Table(name)
    measured: dict[tuple[str, int, int], Points] = {}
    for row in rows:
        model, threads, share, batch, ms = row[0], int(row[1]), int(row[2]), int(row[3]), float(row[4])
        told = f"{model} {threads} threads, {share} % GPU, b{batch}"
        if ms >= FAILED_MS:
            table.clean(f"dropped: {FAILED_MS:g} ms or more is a failed run, not a latency", told)
            continue
        measured.setdefault((model, threads, share), {})[batch] = (ms, ms)
    for (model, threads, share), curve in measured.items():
        told = f"{model} {threads} threads, {share} % GPU"
        table.curves.append(
            Curve(
                architecture=model.replace("resnet-", "resnet"), task=TASKS.get(model, model),
                device=GPU if share else CPU, source="INFless",
                points=points([(batch, *ms) for batch, ms in without_outliers(curve, told, table).items()]),
                width=max(1, share // GPU_STEP) if share else threads, label=f"t{threads}" if share else "",
            )
        )  # fmt: skip
    table.clean("one figure a row: it stands for all quantiles", "all")
    return table
