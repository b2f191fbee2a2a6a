"""The GPU backends on one GPU: latency by batch, lanes beside each other on the device, memory and load time.

ResNet-50 with weights by chance, on onnxruntime (CUDA, TensorRT) and torch (eager, graphs, compiled), fp32 and reduced.
Times are of whole calls, copies to and from the device included, each lane in its own thread. What a backend refuses is
reported with its reason. Without a GPU it says why and ends with status 3.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.report import machine
from executors.backends.device import held_bytes
from executors.backends.protocol import Backend
from executors.devices import Gpu, Seen
from executors.devices import machine as described
from executors.measure import point, sweep
from executors.probing import NoDevice, claim, look, own_gpu
from registry.records import Model, Variant
from streams.errors import HeadraceError

BATCHES = (1, 2, 4, 8, 16, 32, 64)
LANES = (1, 2, 4)
BUDGET_S = 6.0
ROUNDS = 2

log = logging.getLogger(__name__)


class Case(NamedTuple):
    """One way to run the network; `open` gives a lane that is not loaded."""

    name: str
    precision: str
    open: Callable[[], Backend]


def cases(folder: Path) -> tuple[Model, list[Case]]:
    """Everything that is compared; files and libraries are made and imported here."""
    from benchmarks.resnet import BATCH_MAX, build
    from executors.backends.onnx_gpu import OnnxGpu
    from executors.backends.torch_gpu import TorchGpu

    built = build(folder)
    found = []
    for provider, precisions in (("cuda", ("fp32",)), ("tensorrt", ("fp32", "fp16"))):
        for precision in precisions:
            variant = Variant(
                name=f"resnet50-{provider}-{precision}", model="resnet50", framework="onnxruntime", hardware="gpu",
                precision=precision, batch_max=BATCH_MAX, compiled=provider == "tensorrt",
            )  # fmt: skip
            made = partial(OnnxGpu, built.onnx, variant, built.model, provider=provider)  # type: ignore[arg-type]
            found.append(Case(f"onnxruntime-{provider}", precision, made))
    for name, graphs, compiled in (("eager", False, False), ("graphs", True, False), ("compiled", True, True)):
        for precision in ("fp32", "fp16", "bf16"):
            variant = Variant(
                name=f"resnet50-torch-{name}-{precision}", model="resnet50", framework="torch", hardware="gpu",
                precision=precision, batch_max=BATCH_MAX, compiled=compiled,
            )  # fmt: skip
            lane = partial(TorchGpu, built.program, variant, built.model, graphs=graphs)
            found.append(Case(f"torch-{name}", precision, lane))
    return built.model, found


def require_gpu(seen: Seen) -> None:
    """Raises: NoDevice with the reason that `headrace hardware` gives."""
    kind = next(kind for kind in described(seen).kinds if kind.hardware == "gpu")
    if not kind.available:
        raise NoDevice(f"this benchmark needs a GPU: {kind.why} -> {kind.todo}")


def run(
    model: Model, found: Iterable[Case], *, batches: Sequence[int] = BATCHES, lanes: Sequence[int] = LANES,
    budget_s: float = BUDGET_S,
) -> list[dict[str, Any]]:  # fmt: skip
    """Each case with each number of lanes; one that is refused or fails has its reason in place of figures."""
    rows = []
    for case in found:
        for count in lanes:
            row: dict[str, Any] = {"backend": case.name, "precision": case.precision, "lanes": count}
            try:
                row |= measured(model, case, count, batches, budget_s)
            except HeadraceError as refused:
                rows.append({**row, "refused": f"{refused.code}: {refused.message}"})
                break  # more lanes need more of what is missing
            log.info("measured", extra=row)
            rows.append(row)
    return rows


def measured(model: Model, case: Case, count: int, batches: Sequence[int], budget_s: float) -> dict[str, Any]:
    """Units: milliseconds, MiB of the device a lane; rates are of all lanes together, at the largest batch.

    Raises: HeadraceError.
    """
    opened = [case.open() for _ in range(count)]
    cap = Variant(name=case.name, model=model.name, framework="torch", batch_max=max(batches))
    try:
        load_ms = []
        for lane in opened:
            began = time.perf_counter()
            lane.load()
            load_ms.append(round((time.perf_counter() - began) * 1e3, 1))
        timed = sweep(opened, variant=cap, model=model, sizes=batches, budget_s=budget_s, rounds=ROUNDS)
        rates = {size: max(t.throughput_qps for t in rounds) for size, rounds in timed.items()}
        points = [point(size, [ns for t in rounds for ns in t.took_ns]) for size, rounds in sorted(timed.items())]
        return {
            "load_ms": load_ms,
            "memory_mib": held_bytes(opened, host_bytes=0) >> 20,
            "p50_ms": {p.batch: round(p.p50_us / 1e3, 3) for p in points},
            "p99_ms": {p.batch: round(p.p99_us / 1e3, 3) for p in points},
            "queries_per_s": {size: round(rate, 1) for size, rate in sorted(rates.items())},
            "versions": opened[0].versions,
            "captured": list(getattr(opened[0], "captured", ())),
        }
    finally:
        for lane in opened:
            lane.close()


def report(rows: Sequence[dict[str, Any]], gpu: Gpu | None, *, as_json: bool) -> None:
    if as_json:
        device = None if gpu is None else {
            "name": gpu.name, "memory_mib": gpu.memory_bytes >> 20, "driver": gpu.driver, "capability": gpu.capability,
        }  # fmt: skip
        print(json.dumps({"benchmark": "gpu", "device": device, "cases": rows, "machine": machine()}), flush=True)
        return
    table = Table("backend", "precision", "lanes", "p50 ms b1", "p50 ms", "queries/s", "MiB", title="gpu")
    for row in rows:
        if "refused" in row:
            table.add_row(row["backend"], row["precision"], str(row["lanes"]), row["refused"], "", "", "")
            continue
        last = max(row["p50_ms"])
        table.add_row(
            row["backend"], row["precision"], str(row["lanes"]), str(row["p50_ms"][1]),
            f"{row['p50_ms'][last]} (b{last})", str(row["queries_per_s"][last]), str(row["memory_mib"]),
        )  # fmt: skip
    Console().print(table)


def main(*, as_json: bool) -> None:
    require_gpu(look())
    claim("gpu")
    with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status("gpu ..."):
        rows = run(*cases(Path(folder)))
    report(rows, own_gpu(), as_json=as_json)
