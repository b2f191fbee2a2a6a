"""What one variant would run now: its timed jobs by the batching policy, its patient ones when it is their turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

import msgspec

from executors.batching import Nothing, Reason, Run, WaitUntil, decide
from executors.job import Job
from executors.stock import Stock
from executors.yielding import Yielding
from streams.clock import NEVER

PATIENT_SHARE = 9  # after so many batches of other work, one of patient work that waits goes first: none starves


class Choice(msgspec.Struct, frozen=True, gc=False):
    """What one variant would run now; the earliest `head_us` goes first."""

    head_us: int
    stock: Stock
    size: int
    reason: Reason
    target: int
    patient: bool = False


class Chosen(msgspec.Struct, frozen=True, gc=False):
    """A choice, or None while it waits until `again_us`; and the jobs that no batch can save, which are gone."""

    choice: Choice | None
    again_us: int = NEVER
    late: list[Job] = []


class Choosing:
    """The policy's settings, and how they are applied to one variant's stock; one for each machine."""

    __slots__ = ("_phi", "_reserve_us", "_window_drop", "_yielding")

    def __init__(self, *, phi: float, reserve_us: int, window_drop: bool) -> None:
        assert 0 <= phi <= 1
        self._phi = phi
        self._reserve_us = reserve_us
        self._window_drop = window_drop
        self._yielding = Yielding()

    def choose(self, stock: Stock, *, lanes_free: int, share: Callable[[], float], eager: bool, now_us: int) -> Chosen:
        """What would run now. `share` is of the cores (see Stock.target), `eager` does not wait for more jobs."""
        timed = stock.timed
        starving = bool(stock.patient) and stock.passed >= PATIENT_SHARE
        if starving or not timed.jobs:
            return Chosen(self._patient(stock, starving=starving, now_us=now_us))
        slo_us = timed.deadlines_us[0] - timed.jobs[0].queued_us
        target = stock.target(slo_us, reserve_us=self._reserve_us, share=share, now_us=now_us)
        self._yielding.seen(slo_us - self._reserve_us - stock.run_us[target], now_us=now_us)
        if not self._window_drop:
            size = min(len(timed), stock.size_max, target)
            return Chosen(Choice(timed.deadlines_us[0], stock, size, Reason.EAGER, target))
        decided = decide(
            timed, run_us=stock.run_us, target=target, size_max=stock.size_max, lanes_free=lanes_free,
            phi=0.0 if eager else self._phi, reserve_us=self._reserve_us, now_us=now_us,
        )  # fmt: skip
        late = _late(stock, decided.drop) if decided.drop else []
        match decided:
            case Run(_, size, reason):
                return Chosen(Choice(timed.deadlines_us[0], stock, size, reason, target), late=late)
            case WaitUntil(_, at_us):
                return Chosen(None, at_us, late)
            case Nothing():
                return Chosen(self._patient(stock, starving=False, now_us=now_us), late=late)
            case _:
                assert_never(decided)

    def _patient(self, stock: Stock, *, starving: bool, now_us: int) -> Choice | None:
        if not stock.patient:
            return None
        target = stock.target_patient(room_us=self._yielding.room_us(now_us=now_us))
        size = min(len(stock.patient), target)
        reason = Reason.TARGET if size == target > 1 else Reason.EAGER
        return Choice(now_us if starving else NEVER, stock, size, reason, target, patient=True)


def _late(stock: Stock, count: int) -> list[Job]:
    """Let heads go: those that may be late become patient, the others are returned."""
    late: list[Job] = []
    for job in stock.timed.take(count):
        (stock.patient if job.late_ok else late).append(job)
    return late
