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

from executors.backends.device import charged, held_bytes
from executors.backends.protocol import Array, Backend
from executors.crew import SAMPLES_MIN, Crew, Timed
from executors.hardware import resident_bytes
from registry.latency import Point
from registry.records import Model, Profile, Variant

SIZES = (1, 2, 4, 8, 16, 32)
SAMPLES_P99 = 100  # below, the 99th percentile is the largest


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
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> Profile:
    """Load `backend` and `others`, the lanes of one variant, and sweep over the sizes once: quick, for an executor.

    They stay loaded. `load_us` is of the last instance, the first one that finds its libraries warm.

    Units:   `memory_bytes` is the growth of the process, largest batch included, by instance: exact only where nothing
             else grows meanwhile and nothing was freed before, as in a process of its own.
    Raises:  LoadFailed, ModelFailed.
    """
    gc.collect()
    memory, load_us = resident_bytes(), 0
    for lane in (backend, *others):
        began_ns = clock_ns()
        lane.load()
        load_us = (clock_ns() - began_ns) // 1_000
    timed = sweep(
        [backend, *others], variant=variant, model=model, sizes=sizes, budget_s=budget_s, rounds=1, clock_ns=clock_ns
    )
    return Profile(
        variant=variant.name,
        pool=pool,
        machine=machine,
        points=charged(backend, [pooled(size, timed[size]) for size in sorted(timed)]),
        load_us=load_us,
        memory_bytes=held_bytes([backend, *others], host_bytes=resident_bytes() - memory),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={**backend.versions, "python": platform.python_version()},
        lanes=1 + len(others),
    )


def sweep(
    lanes: Sequence[Backend],
    *,
    variant: Variant,
    model: Model,
    sizes: Sequence[int],
    budget_s: float,
    rounds: int,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> dict[int, list[Timed]]:
    """Time loaded `lanes` at each size up to the variant's cap, in `rounds` that each pass over all sizes.

    So a disturbance of a second spoils one round of many sizes and not all of one. A size gets an equal share of what
    is left of the budget, but at least one run a lane and round (`SAMPLES_MIN`, if there is one round only). Once a
    single batch exceeds the share of all rounds that are left, larger ones are not tried: the profile then
    extrapolates, or is completed by prediction. Of several rounds two are made in any case; no other begins after the
    budget.

    Returns: what each size took, by round.
    Raises:  ModelFailed.
    """
    assert budget_s > 0
    assert rounds >= 1
    wanted = sorted({min(size, variant.batch_max) for size in sizes})
    assert wanted, "no batch size to measure"
    assert wanted[0] >= 1
    items = list(plausible(model, wanted[-1], rng=np.random.default_rng(0)))
    timed: dict[int, list[Timed]] = {}
    ends_ns = clock_ns() + round(budget_s * 1e9)
    with Crew(lanes, clock_ns=clock_ns) as crew:
        for turn in range(rounds):
            if turn > 1 and clock_ns() >= ends_ns:
                break
            for done, size in enumerate(tuple(wanted)):
                left = len(wanted) * (rounds - turn) - done
                share_ns = max(0, ends_ns - clock_ns()) // left
                runs = crew.run(items[:size], share_ns=share_ns, samples_min=SAMPLES_MIN if rounds == 1 else 1)
                timed.setdefault(size, []).append(runs)
                if min(runs.took_ns) > share_ns * (rounds - turn):
                    wanted = wanted[: done + 1]
                    break
    return timed


def pooled(size: int, rounds: Sequence[Timed]) -> Point:
    """The rounds' medians' median, so that one disturbed round does not move it; and so their p99s, where each round
    has samples enough for one of its own, else p99 of all samples (the largest, below 100), never under p50.
    """
    whole = point(size, [took for timed in rounds for took in timed.took_ns])
    single = [point(size, timed.took_ns) for timed in rounds]
    p50_us = statistics.median_low(one.p50_us for one in single)  # what disturbs only slows
    enough = min(one.samples for one in single) >= SAMPLES_P99
    p99_us = statistics.median_high(one.p99_us for one in single) if enough else whole.p99_us
    return Point(
        batch=size,
        p50_us=p50_us,
        p99_us=max(p50_us, p99_us),
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
