"""The child process that profiles one variant: an order comes on stdin, what was found goes to stdout, both JSON.

A process of its own, because only there is a load cold, the memory that is held the variant's, and a crash no harm.
"""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import resource
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from executors.backends.device import charged, held_bytes
from executors.backends.open import open_backend
from executors.backends.protocol import Backend
from executors.hardware import machine_kind, resident_bytes
from executors.measure import pooled, sweep
from executors.operators import RUNS, Operators, operators
from executors.probing import claim
from registry.latency import Point
from registry.records import Model, Profile, Variant
from streams.errors import HeadraceError

ROUNDS = 4  # even, so that the two halves see the same sizes
PRIORITY = -15  # of this process, where it may: what neighbours take meanwhile is theirs, not the variant's


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to profile. `operators`: ask the runtime's profiler too, at batch 1 and at the largest it has time for."""

    variant: Variant
    model: Model
    pool: str
    lanes: int
    sizes: tuple[int, ...]
    budget_s: float
    rounds: int = ROUNDS
    operators: bool = True


class Profiled(msgspec.Struct, frozen=True, kw_only=True):
    """A profile of what was measured; `halves` are the same from the odd and from the even rounds, for the noise."""

    profile: Profile
    halves: tuple[tuple[Point, ...], tuple[Point, ...]]
    operators: Operators = {}


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The variant does not run here, and why: the code and the message of the error."""

    code: str
    message: str


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly one of the two."""

    profiled: Profiled | None = None
    refused: Refused | None = None


def profile(order: Order) -> Profiled:
    """Profile in this process, which should be fresh. Raises: HeadraceError."""
    assert order.lanes >= 1
    variant, model = order.variant, order.model
    claim(variant.hardware)
    began = time.perf_counter_ns()
    lanes: list[Backend] = [open_backend(variant, model)]
    imported = time.perf_counter_ns()
    gc.collect()
    forget_peak()
    memory = resident_bytes()
    lanes[0].load()
    load_cold_us = (time.perf_counter_ns() - began) // 1_000
    load_us = (time.perf_counter_ns() - imported) // 1_000
    for _ in range(max(1, order.lanes - 1)):  # at least a second one, for the warm load
        began = time.perf_counter_ns()
        lanes.append(open_backend(variant, model))
        lanes[-1].load()
        load_us = min(load_us, (time.perf_counter_ns() - began) // 1_000)
    for spare in lanes[order.lanes :]:
        spare.close()
    del lanes[order.lanes :]
    busy = Busy()
    timed = sweep(lanes, variant=variant, model=model, sizes=order.sizes, budget_s=order.budget_s, rounds=order.rounds)
    disturbed, peak = busy.of_others(), peak_bytes()
    points = charged(lanes[0], [pooled(size, timed[size]) for size in sorted(timed)])
    found = operators(variant, model, lanes[0], _affordable(points, order)) if order.operators else {}
    artifact = variant.artifact or model.artifacts.get(variant.framework)
    return Profiled(
        profile=Profile(
            variant=variant.name,
            pool=order.pool,
            machine=machine_kind(),
            points=points,
            load_us=load_us,
            load_cold_us=load_cold_us,
            memory_bytes=held_bytes(lanes, host_bytes=(peak - memory) * order.lanes // max(2, order.lanes)),
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={**lanes[0].versions, "python": platform.python_version()},
            lanes=order.lanes,
            artifact=artifact.sha256 if artifact else "",
            source="profiler",
            disturbed=round(disturbed, 3),
        ),
        halves=(
            tuple(pooled(size, rounds[0::2]) for size, rounds in sorted(timed.items())),
            tuple(pooled(size, rounds[1::2]) for size, rounds in sorted(timed.items()) if len(rounds) > 1),
        ),
        operators=found,
    )


def _affordable(points: Sequence[Point], order: Order) -> list[int]:
    """The smallest size, and the largest whose profiled runs fit into a fourth of the budget."""
    fit = [p.batch for p in points if 2 * RUNS * p.p50_us <= order.budget_s * 1e6 / 4]
    return sorted({points[0].batch, *fit[-1:]})


class Busy:
    """How much of the machine others use, from now on."""

    def __init__(self) -> None:
        self._then = _times()

    def of_others(self) -> float:
        """The share of the machine's CPU, 0 to 1, that was not this process's; 0 where it is not known."""
        wall_s, busy_s, own_s = (now - then for now, then in zip(_times(), self._then, strict=True))
        cores = os.cpu_count() or 1
        return min(1.0, max(0.0, (busy_s - own_s) / (cores * max(wall_s, 1e-9))))


def _times() -> tuple[float, float, float]:
    own_s = time.process_time()
    try:
        fields = Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:9]
    except (OSError, IndexError):
        return time.monotonic(), own_s, own_s  # not Linux
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields)
    busy = user + nice + system + irq + softirq + steal
    return time.monotonic(), busy / os.sysconf("SC_CLK_TCK"), own_s


def claim_priority() -> None:
    """Run before others, where that is allowed; Linux may group processes by session and weigh the groups first."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    with contextlib.suppress(OSError):
        if os.getsid(0) == os.getpid():  # else it would lift the whole session of the caller
            Path("/proc/self/autogroup").write_text(str(PRIORITY), "ascii")


def forget_peak() -> None:
    """Let the peak of the resident memory begin anew; where that is not allowed, imports count into it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def peak_bytes() -> int:
    """The largest resident memory since `forget_peak`, or since the start."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """One order, one reply. Libraries that print find stdout taken."""
    assert not argv
    out = os.dup(1)
    os.dup2(2, 1)
    claim_priority()
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        reply = Reply(profiled=profile(order))
    except HeadraceError as refused:
        reply = Reply(refused=Refused(code=refused.code, message=refused.message))
    with os.fdopen(out, "wb") as file:
        file.write(msgspec.json.encode(reply))
    return 0


if __name__ == "__main__":
    sys.exit(main())
