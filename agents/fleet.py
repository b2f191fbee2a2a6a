"""The fleet as telemetry tells it: which executors can be sent to, and what each is doing by now.

An executor is routable while it says `ready`, owns a slot and was heard within the silence bound. Whatever it
says next brings it back. The model of one executor is reckoning.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from agents.reckoning import Executor, Lane
from registry.catalog import Offer
from streams.records import Telemetry

SILENCE_US = 1_000_000  # ten heartbeats
FORGET_US = 60_000_000  # so that names that never come back do not pile up
REPLAYED_US = 10_000_000  # telemetry sent longer ago is history read from the topic, beyond any clock error


class Fleet:
    """Every executor that this router has heard of.

    `changes` grows when the set of routable executors, a slot or a residency changes. `moved` are the (variant, pool)
    of which a lane's speed has changed; whoever heeds that takes them out. Without `live_correction` profiles alone
    are believed.
    """

    def __init__(self, *, router: str, silence_us: int = SILENCE_US, live_correction: bool = True) -> None:
        self.silence_us = silence_us
        self.live_correction = live_correction
        self.changes = 0
        self.moved: set[tuple[str, str]] = set()
        self._router = router
        self._executors: dict[str, Executor] = {}
        self._offers: dict[tuple[str, str], Offer] = {}

    def heard(self, telemetry: Telemetry, *, now_us: int) -> bool:
        """Fold one telemetry record in; True if it changed who can be sent to (or on which slot, with what)."""
        if 0 < telemetry.sent_us < now_us - REPLAYED_US:
            return False
        name = telemetry.executor
        executor = self._executors.get(name)
        if telemetry.state == "gone":
            return executor is not None and self._remove(executor)
        if executor is not None and executor.pool != telemetry.pool:
            self._remove(executor)
            executor = None
        if executor is None:
            executor = self._executors[name] = Executor(telemetry, now_us=now_us)
        before = (self._live(executor, now_us), executor.slot, set(executor.lanes))
        moved = executor.reconcile(
            telemetry, self._offers, router=self._router, live_correction=self.live_correction, now_us=now_us
        )
        for variant in moved:
            self.moved.add((variant, executor.pool))
        executor.ready = telemetry.state == "ready" and bool(telemetry.slots)
        executor.slot = min(telemetry.slots, default=-1)
        changed = before != (self._live(executor, now_us), executor.slot, set(executor.lanes))
        self.changes += changed
        return changed

    def sent(self, executor: str, variant: str, n: int, *, now_us: int) -> int:
        """Note `n` queries sent to one lane.

        Returns: the sequence number of the last; it stands in the dispatch, and telemetry says how far it was read.
        Raises:  AssertionError for an executor or a variant that is not there: selection chose it a moment ago.
        """
        lane = self.lane(executor, variant)
        assert lane is not None, (executor, variant)
        assert n >= 1, n
        for _ in range(n):
            seq = lane.sent(now_us)
        return seq

    def lane(self, executor: str, variant: str) -> Lane | None:
        """The lane of a known executor, whether it can be sent to or not."""
        known = self._executors.get(executor)
        return known.lanes.get(variant) if known is not None else None

    def live(self, *, now_us: int) -> Iterator[Executor]:
        """Routable executors by name, so that every ring has the same order; forgets those long silent."""
        lost_us = now_us - FORGET_US
        for name in [name for name, executor in self._executors.items() if executor.heard_us < lost_us]:
            self._executors.pop(name).ready = False
        for name in sorted(self._executors):
            if self._live(self._executors[name], now_us):
                yield self._executors[name]

    def routable(self, *, now_us: int) -> int:
        return sum(self._live(executor, now_us) for executor in self._executors.values())

    def learn(self, offers: dict[tuple[str, str], Offer]) -> None:
        """Take the catalogue's curves, by (variant, pool); lanes without one wait for it."""
        self._offers = offers
        for executor in self._executors.values():
            for variant in list(executor.lanes):
                offer = offers.get((variant, executor.pool))
                if offer is None:
                    executor.forget(variant)
                else:
                    executor.lanes[variant].learn(offer)
        self.changes += 1

    def _remove(self, executor: Executor) -> bool:
        del self._executors[executor.name]
        executor.ready = False  # for whoever still holds it in a ring
        self.changes += 1
        return True

    def _live(self, executor: Executor, now_us: int) -> bool:
        return executor.ready and now_us - executor.heard_us <= self.silence_us
