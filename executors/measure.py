"""The plain profile: how long a variant takes per batch size on this machine, alone, within a time budget."""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from executors.backends.protocol import Array, Backend
from executors.hardware import resident_bytes
from registry.latency import Point
from registry.records import Model, Profile, Variant

SIZES = (1, 2, 4, 8, 16, 32)
WARM_UP_RUNS_MAX = 3  # the first runs of a shape allocate and choose kernels
SAMPLES_MIN = 3
SAMPLES_MAX = 300  # beyond, a plain profile learns nothing that live results would not teach


def measure(
    backend: Backend,
    *,
    variant: Variant,
    model: Model,
    pool: str,
    machine: str,
    sizes: Sequence[int] = SIZES,
    budget_s: float = 5.0,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> Profile:
    """Load `backend` and time it at each size up to the variant's cap; it stays loaded.

    Each size gets an equal share of the budget that is left, but at least `SAMPLES_MIN` runs. Once a single
    batch exceeds its share, larger ones are not tried: the profile then extrapolates. p99 is an observed
    sample (the largest, below 100 of them), so it is never under p50.

    Units:   `memory_bytes` is the growth of the process, largest batch included: exact only where nothing else
             grows meanwhile and nothing was freed before, as in a process of its own.
    Raises:  LoadFailed, ModelFailed.
    """
    assert budget_s > 0
    wanted = sorted({min(size, variant.batch_max) for size in sizes})
    assert wanted, "no batch size to measure"
    assert wanted[0] >= 1
    gc.collect()
    memory, began_ns = resident_bytes(), clock_ns()
    backend.load()
    load_us = (clock_ns() - began_ns) // 1_000

    items = plausible(model, wanted[-1], rng=np.random.default_rng(0))
    points: list[Point] = []
    ends_ns = clock_ns() + round(budget_s * 1e9)
    for done, size in enumerate(wanted):
        share_ns = max(0, ends_ns - clock_ns()) // (len(wanted) - done)
        samples_ns = _samples(backend, items[:size], share_ns=share_ns, clock_ns=clock_ns)
        points.append(point(size, samples_ns))
        if min(samples_ns) > share_ns:
            break
    return Profile(
        variant=variant.name,
        pool=pool,
        machine=machine,
        points=tuple(points),
        load_us=load_us,
        memory_bytes=max(0, resident_bytes() - memory),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={**backend.versions, "python": platform.python_version()},
    )


def point(size: int, samples_ns: Sequence[int]) -> Point:
    """The median and the 99th percentile, both observed values."""
    p50, p99 = np.quantile(np.asarray(samples_ns), (0.5, 0.99), method="higher")
    return Point(batch=size, p50_us=max(1, int(p50) // 1_000), p99_us=max(1, int(p99) // 1_000))


def plausible(model: Model, size: int, *, rng: np.random.Generator) -> Array:
    """Random items like those of real queries; zeros would flatter sparse kernels and skip denormals.

    Shapes: (size, *input_shape). Floats are uniform in -1 to 1, integers in 0 to 255 (or what the dtype holds).
    """
    shape, dtype = (size, *model.input_shape), np.dtype(model.input_dtype)
    items: np.ndarray[Any, Any]
    if dtype.kind == "f":
        items = rng.uniform(-1.0, 1.0, shape).astype(dtype)
    elif dtype.kind == "b":
        items = rng.random(shape) < 0.5
    else:
        items = rng.integers(0, min(255, int(np.iinfo(dtype).max)), shape, dtype=dtype, endpoint=True)
    return items


def _samples(backend: Backend, batch: Array, *, share_ns: int, clock_ns: Callable[[], int]) -> list[int]:
    """Durations of runs after a warm-up, until the share is spent."""
    began_ns = clock_ns()
    for _ in range(WARM_UP_RUNS_MAX):
        backend.run(batch)
        if clock_ns() - began_ns > share_ns // 4:
            break
    samples: list[int] = []
    while len(samples) < SAMPLES_MAX:
        start_ns = clock_ns()
        if len(samples) >= SAMPLES_MIN and start_ns - began_ns >= share_ns:
            break
        backend.run(batch)
        samples.append(clock_ns() - start_ns)
    return samples
