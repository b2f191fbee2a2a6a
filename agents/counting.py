"""When a router tells of its counts: of each second once it is over, and of what cannot wait for that. Pure."""

from __future__ import annotations

from agents.counts import Counts
from streams.records import Arrivals

HURRY_US = 100_000  # between counts of one second that are told at once
SURGE_US = 250_000  # between two looks whether a class has jumped: before, a count shows little


class Counting:
    """`turn` a hundred times a second."""

    def __init__(self) -> None:
        self._second = 0
        self._told_us = self._looked_us = 0
        self._parked = 0

    def turn(self, counts: Counts, *, parked: int, now_us: int) -> list[Arrivals]:
        """What to tell now. `parked`: queries that wait for a lane; more of them than were told of cannot wait."""
        second, us = divmod(now_us, 1_000_000)
        part = us / 1e6
        if second != self._second:
            self._second = second
            self._note(parked, now_us)
            return counts.complete(before_second=second)
        waits = parked > self._parked and now_us - self._told_us > HURRY_US
        if not waits and now_us - self._looked_us > SURGE_US:
            self._looked_us = now_us
            waits = counts.surging(second, part=part)
        if not waits:
            return []
        self._note(parked, now_us)
        return counts.running(second, part=part)

    def _note(self, parked: int, now_us: int) -> None:
        self._told_us = self._looked_us = now_us
        self._parked = parked
