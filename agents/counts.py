"""How many queries of each class came in each second: what forecasts and plans are made from."""

from __future__ import annotations

import math

from agents.observed import jumped
from streams.contract import AccuracyBound
from streams.query import Requirements
from streams.records import Arrivals

BUCKETS_A_DECADE = 6  # neighbours differ by 1.47: an SLO is planned for at most a third too short
CLASSES_MAX = 4_096  # a second; a hostile client can invent more, and they count together
OTHER = "other"


class Counts:
    """Counts per (class, second, partition) until they are told; no more entries than queries read meanwhile."""

    def __init__(self) -> None:
        self._seconds: dict[int, dict[tuple[int, int], Count]] = {}  # by (identity of the requirements, partition)
        self._told: dict[str, int] = {}  # of the running second, by class
        self._before: dict[str, int] = {}  # of the last whole second

    def add(self, requirements: Requirements, *, second: int, partition: int) -> None:
        """Count one query that arrived in `second` (since the epoch)."""
        counts = self._seconds.get(second)
        if counts is None:
            counts = self._seconds[second] = {}
        key = (id(requirements), partition)
        count = counts.get(key)
        if count is None:
            counts[key] = Count(requirements)
        else:
            count.value += 1

    def complete(self, *, before_second: int) -> list[Arrivals]:
        """Remove and return the counts of every second before `before_second`, in order.

        A query that is read late (a backlog, a replay) counts in its own second; that second is then reported
        again, and reports of one (class, second, partition) add up.
        """
        done = [
            arrivals
            for second in sorted(second for second in self._seconds if second < before_second)
            for arrivals in self._removed(second, 1.0)
        ]
        self._before, self._told = self._told, {}
        for arrivals in done:
            if arrivals.second == before_second - 1:
                self._before[arrivals.klass] = self._before.get(arrivals.klass, 0) + arrivals.count
        return done

    def running(self, second: int, *, part: float) -> list[Arrivals]:
        """Remove and return the counts of the running second, of which `part` has passed."""
        found = self._removed(second, part)
        for arrivals in found:
            self._told[arrivals.klass] = self._told.get(arrivals.klass, 0) + arrivals.count
        return found

    def surging(self, second: int, *, part: float) -> bool:
        """Whether a class has surely jumped in the running second, by what the last whole one had."""
        totals = dict(self._told)
        for count in self._seconds.get(second, {}).values():
            totals[count.klass] = totals.get(count.klass, 0) + count.value
        return any(jumped(total, self._before.get(klass, 0), part=part) for klass, total in totals.items())

    def _removed(self, second: int, part: float) -> list[Arrivals]:
        totals: dict[tuple[str, int], int] = {}
        for (_, partition), count in self._seconds.pop(second, {}).items():
            klass = count.klass
            if (klass, partition) not in totals and len(totals) >= CLASSES_MAX:
                klass = OTHER
            totals[klass, partition] = totals.get((klass, partition), 0) + count.value
        return [
            Arrivals(klass=klass, second=second, partition=partition, count=value, part=part)
            for (klass, partition), value in sorted(totals.items())
        ]


class Count:
    """A count that begins at one; it keeps the requirements alive, so that their identity stays theirs."""

    __slots__ = ("_klass", "requirements", "value")

    def __init__(self, requirements: Requirements) -> None:
        self.requirements = requirements
        self.value = 1
        self._klass = ""

    @property
    def klass(self) -> str:
        if not self._klass:
            self._klass = class_of(self.requirements)
        return self._klass


def class_of(requirements: Requirements) -> str:
    """The stable key of a class, such as `task=digits slo=147 acc=0.95 cost=any prio=5`."""
    asked = requirements
    slo = "any" if asked.slo_us is None else f"{slo_bucket_ms(asked.slo_us):g}"
    cost = "any" if asked.cost_max is None else f"{asked.cost_max:g}"
    floor = f"{asked.accuracy_min:g}" + ("-lower" if asked.accuracy_bound is AccuracyBound.LOWER else "")
    return f"{asked.kind}={asked.target} slo={slo} acc={floor} cost={cost} prio={asked.priority}"


def slo_bucket_ms(slo_us: int) -> float:
    """The SLO rounded down to one of 1, 1.5, 2.2, 3.2, 4.6, 6.8, 10, 15, ... ms; below 1 ms: 1.

    Down, because a plan for a shorter SLO than asked keeps it, and one for a longer does not.
    """
    step = math.floor(math.log10(max(slo_us, 1_000) / 1_000) * BUCKETS_A_DECADE + 1e-9)
    return round(10 ** (step / BUCKETS_A_DECADE), 1 if step < BUCKETS_A_DECADE else 0)
