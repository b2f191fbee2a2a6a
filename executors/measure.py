"""The plain profile: how long a variant takes per batch size on this machine, every lane busy, within a time budget."""

from __future__ import annotations

import gc
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from executors.backends.protocol import Array, Backend
from executors.crew import Crew, Timed
from executors.hardware import resident_bytes
from registry.latency import Point
from registry.records import Model, Profile, Variant

SIZES = (1, 2, 4, 8, 16, 32)


def measure(
    backend: Backend,
    *,
    variant: Variant,
    model: Model,
    pool: str,
    machine: str,
    sizes: Sequence[int] = SIZES,
    budget_s: float = 5.0,
    others: Sequence[Backend] = (),
    rounds: int = 1,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> Profile:
    """Load `backend` and `others`, the lanes of one variant, and time all at once at each size up to the cap.

    They stay loaded. The budget is split over `rounds`, and in each over the sizes: a disturbance of a second then
    spoils one round of many sizes and not all of one. Each size gets at least `SAMPLES_MIN` runs a round. Once a single
    batch exceeds its share, larger ones are not tried: the profile then extrapolates, or is completed by prediction.

    Returns: p50 is the median of the rounds' medians; p99 is an observed sample (the largest, below 100 of them),
             never under p50. `load_us` is of the last instance, the first one that finds its libraries warm.
    Units:   `memory_bytes` is the growth of the process, largest batch included, by instance: exact only where nothing
             else grows meanwhile and nothing was freed before, as in a process of its own.
    Raises:  LoadFailed, ModelFailed.
    """
    assert budget_s > 0
    assert rounds >= 1
    wanted = sorted({min(size, variant.batch_max) for size in sizes})
    assert wanted, "no batch size to measure"
    assert wanted[0] >= 1
    gc.collect()
    memory, load_us = resident_bytes(), 0
    for lane in (backend, *others):
        began_ns = clock_ns()
        lane.load()
        load_us = (clock_ns() - began_ns) // 1_000

    items = list(plausible(model, wanted[-1], rng=np.random.default_rng(0)))
    timed: dict[int, list[Timed]] = {}
    ends_ns = clock_ns() + round(budget_s * 1e9)
    with Crew([backend, *others], clock_ns=clock_ns) as crew:
        for turn in range(rounds):
            for done, size in enumerate(tuple(wanted)):
                left = len(wanted) * (rounds - turn) - done
                share_ns = max(0, ends_ns - clock_ns()) // left
                runs = crew.run(items[:size], share_ns=share_ns)
                timed.setdefault(size, []).append(runs)
                if min(runs.took_ns) > share_ns:
                    wanted = wanted[: done + 1]
                    break
            if clock_ns() >= ends_ns:
                break
    return Profile(
        variant=variant.name,
        pool=pool,
        machine=machine,
        points=tuple(pooled(size, timed[size]) for size in sorted(timed)),
        load_us=load_us,
        memory_bytes=max(0, resident_bytes() - memory) // (1 + len(others)),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={**backend.versions, "python": platform.python_version()},
        lanes=1 + len(others),
    )


def pooled(size: int, rounds: Sequence[Timed]) -> Point:
    """The rounds' medians' median, so that one disturbed round does not move it, and p99 of all samples."""
    whole = point(size, [took for timed in rounds for took in timed.took_ns])
    p50_us = round(statistics.median_high(point(size, timed.took_ns).p50_us for timed in rounds))
    return Point(
        batch=size,
        p50_us=p50_us,
        p99_us=max(p50_us, whole.p99_us),
        throughput_qps=round(statistics.median(timed.throughput_qps for timed in rounds), 3),
        samples=whole.samples,
    )


def point(size: int, samples_ns: Sequence[int]) -> Point:
    """The median and the 99th percentile, both observed values."""
    p50, p99 = np.quantile(np.asarray(samples_ns), (0.5, 0.99), method="higher")
    return Point(
        batch=size, p50_us=max(1, int(p50) // 1_000), p99_us=max(1, int(p99) // 1_000), samples=len(samples_ns)
    )


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
