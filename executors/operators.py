"""How long each operator of a variant takes, from the runtime's own profiler: onnxruntime's, or torch's.

One instance, alone, in the calling thread: what these sums lack (lanes beside it, the calls between operators) is
for the predictor to correct by what was measured.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from executors.backends.open import verified
from executors.backends.protocol import Array, Backend
from executors.measure import plausible
from registry.records import Model, Variant

RUNS = 3  # at each size, after as many that are not looked at
Operators = dict[int, dict[str, float]]  # batch size -> operator -> microseconds a run


def operators(variant: Variant, model: Model, backend: Backend, sizes: Sequence[int]) -> Operators:
    """Times by operator at each size; empty where the framework has no profiler.

    Raises: ModelFailed, LoadFailed, ArtifactBroken.
    """
    if variant.framework == "onnxruntime":
        return {size: _onnx(variant, model, _batch(model, size)) for size in sizes}
    if variant.framework == "torch":
        return {size: _torch(backend, _batch(model, size)) for size in sizes}
    return {}


def by_node(events: Sequence[dict[str, object]], *, skipped: int) -> dict[str, float]:
    """The median of each node's kernel time in onnxruntime's events, its first `skipped` runs left out."""
    took: dict[str, list[float]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            took.setdefault(name.removesuffix("_kernel_time"), []).append(float(str(event["dur"])))
    return {name: statistics.median(times[skipped:]) for name, times in took.items() if len(times) > skipped}


def _batch(model: Model, size: int) -> Array:
    return plausible(model, size, rng=np.random.default_rng(0))


def _onnx(variant: Variant, model: Model, batch: Array) -> dict[str, float]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = variant.width, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    options.enable_profiling = True
    file = verified(variant, model)
    with tempfile.TemporaryDirectory(prefix="headrace-operators-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(
            str(getattr(file, "path", file)), sess_options=options, providers=["CPUExecutionProvider"]
        )
        _repeat(lambda: session.run([model.output_name], {model.input_name: batch}))
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return by_node(events, skipped=RUNS)


def _torch(backend: Backend, batch: Array) -> dict[str, float]:
    from torch.profiler import ProfilerActivity, profile

    for _ in range(RUNS):
        backend.run(batch)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(RUNS):
            backend.run(batch)
    return {
        str(row.key): float(row.self_cpu_time_total) / RUNS
        for row in profiled.key_averages()
        if row.self_cpu_time_total > 0
    }


def _repeat(run: Callable[[], object]) -> None:
    for _ in range(2 * RUNS):
        run()
