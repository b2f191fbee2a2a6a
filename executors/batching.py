"""The batching policy: when a queue runs, how many together, and whom it must let go.

A batch is worth waiting for only as long as waiting is free, and only up to the size that the rate needs. Once
the queue is longer than the deadlines allow, the oldest are let go so that the rest can still run as one full
batch (window drop): under overload that decides the share answered in time, not the firing rule.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from executors.queue import EdfQueue
from registry.latency import LatencyProfile
from registry.targets import batch_need, batch_target

GAIN_MIN = 0.02  # a larger batch that does not save this share of the time per query only makes all of them wait
BATCH_FIXED_US = 300  # handing a batch to a lane and back, which no profile contains
RECONSIDER_US = 50_000  # a queue that waits is looked at again, for its target falls with the rate


class Reason(enum.StrEnum):
    """Why a batch closed."""

    TARGET = "target"  # as large as it should be
    FRONTRUN = "frontrun"  # waiting longer would have cost the head its deadline, or the set share of its slack
    FULL = "full"  # as large as it can be
    DRAIN = "drain"  # nothing more will come
    EAGER = "eager"  # nothing in it has a deadline, or phi is 0
    RETRY = "retry"  # part of a batch that failed


class Run(msgspec.Struct, frozen=True, gc=False):
    """Run the `size` jobs that come first once `drop` jobs are gone."""

    drop: int
    size: int
    reason: Reason


class WaitUntil(msgspec.Struct, frozen=True, gc=False):
    """Let `drop` jobs go, and look again at `at_us` or when something happens."""

    drop: int
    at_us: int


class Nothing(msgspec.Struct, frozen=True, gc=False):
    """Let `drop` jobs go, which are all."""

    drop: int


def decide(
    queue: EdfQueue,
    *,
    run_us: Sequence[int],
    target: int,
    size_max: int,
    lanes_free: int,
    phi: float,
    reserve_us: int,
    now_us: int,
) -> Run | WaitUntil | Nothing:
    """Run the queue now, or name the instant at which waiting ends; target-or-frontrun with window drop.

    Several free lanes share what is more than a target; less than that is one batch, however many are free.
    The batch fires at its target size, or once `phi` of the time between the head's arrival and its frontrun (the
    last start with room for one more) is gone: phi 0 is eager, phi 1 waits for as long as it is free.

    Shapes:  `queue` (n,), n >= 1; `run_us` (size_max + 1,) is l(b), its index 0 unused.
    Units:   every `_us` is integer microseconds; `reserve_us` of each deadline belongs to the way back.
    Returns: how many heads to let go, and then: `Run`, `WaitUntil` (later than now), or `Nothing` is left.
    Raises:  AssertionError on an empty queue, a target outside 1 to `size_max`, or no free lane.
    Source:  Symphony (abcdabcd987/nexuslb) and the project's batching study; see numbers.md section 9.
    """
    assert queue.jobs
    assert 1 <= target <= size_max, (target, size_max)
    assert lanes_free >= 1
    deadlines_us, start_us = queue.deadlines_us, now_us + reserve_us
    drop, size = window_drop(
        deadlines_us, run_us=run_us, target=target, size_max=size_max, lanes_free=lanes_free, start_us=start_us
    )
    waiting = len(deadlines_us) - drop
    if not waiting:
        return Nothing(drop)
    head_us = deadlines_us[drop]
    size_most = min(waiting, size_max, max(target, -(-waiting // lanes_free)))
    while size < size_most and head_us >= start_us + run_us[size + 1]:
        size += 1
    if size == size_max:
        return Run(drop, size, Reason.FULL)
    if size >= target:
        return Run(drop, size, Reason.TARGET)
    if size < waiting:  # the head cannot wait for a larger batch, though there are jobs for one
        return Run(drop, size, Reason.FRONTRUN)
    if phi == 0:
        return Run(drop, size, Reason.EAGER)
    arrived_us = min(now_us, queue.jobs[drop].queued_us)
    frontrun_us = head_us - reserve_us - run_us[size + 1]
    fire_us = arrived_us + int(phi * (frontrun_us - arrived_us))
    if now_us >= fire_us:
        return Run(drop, size, Reason.FRONTRUN)
    return WaitUntil(drop, min(fire_us, now_us + RECONSIDER_US))


def window_drop(
    deadlines_us: Sequence[int], *, run_us: Sequence[int], target: int, size_max: int, lanes_free: int, start_us: int
) -> tuple[int, int]:
    """Find the longest suffix of the queue that can run at once, and let go only whom its batch cannot save.

    i = smallest index with d_i >= start + l(min(share of n - i, size_max)), where a share is what each free lane
    would get; b = min(target, that share); the heads with d < start + l(b) are dropped. Heads before i that a
    batch of b still saves are kept, and go first.

    Returns: (how many heads to drop, b); b is 0 if none is left.
    """
    count = len(deadlines_us)
    first = 0
    while first < count:
        share = -(-(count - first) // lanes_free)
        if deadlines_us[first] >= start_us + run_us[min(share, size_max)]:
            break
        first += 1
    size = min(target, -(-(count - first) // lanes_free)) if first < count else 1
    least_us = start_us + run_us[size]
    drop = 0
    while drop < count and deadlines_us[drop] < least_us:
        drop += 1
    return drop, min(size, count - drop)


def size_target(
    latency: LatencyProfile, *, slo_us: int, rate_qps: float, lanes: int, reserve_us: int, utilisation: float
) -> int:
    """The size that is worth waiting for: what the SLO affords, but no more than the rate needs.

    A larger batch than `need`, the smallest that carries the rate at `utilisation` of the lanes, would save
    machine time that nobody asks for and charge every query for it: at a low rate the need is 1 and nothing ever
    waits. At a high rate the need rises to the affordable size, and throughput is what counts.

    Units:   `slo_us` is the head's own: its deadline minus its arrival here.
    Returns: 1 <= size <= size_efficient(latency).
    """
    afford = batch_target(latency, slo_us=slo_us, rate_qps=rate_qps, lanes=lanes, reserve_us=reserve_us)
    need = batch_need(latency, rate_qps=rate_qps, lanes=lanes, utilisation=utilisation)
    return min(afford, need, size_efficient(latency))


def size_efficient(latency: LatencyProfile) -> int:
    """The smallest batch whose time per query is within GAIN_MIN of the best: beyond it batching buys nothing.

    On a narrow CPU a batch of 8 often costs 8 single runs, and this is 1 or 2; on a GPU it is near `batch_max`.
    """
    sizes = range(1, latency.batch_max + 1)
    per_query_us = [(latency.p50_us[b] + BATCH_FIXED_US) / b for b in sizes]
    enough_us = min(per_query_us) * (1 + GAIN_MIN)
    return next(b for b, cost_us in zip(sizes, per_query_us, strict=True) if cost_us <= enough_us)
