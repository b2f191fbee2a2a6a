"""The level of each class's rate by the counts themselves, for what nobody forecasts, or no forecast saw. Pure."""

from __future__ import annotations

import math
from collections import deque

from streams.records import Arrivals

WINDOW_S = 10
RECENT_S = 2  # whole seconds in which a burst shows
SURE = 2.0  # standard deviations below a single second's count: so much it surely was
NEWS = 1.3  # times what was known before: worth a look at once
CLASSES_MAX = 4_096


class Observed:
    """Counts of the last WINDOW_S seconds; of at most CLASSES_MAX classes, and none of the future."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, dict[str, int]]] = deque()
        self._known: dict[str, float] = {}  # levels as they were last told
        self.news = False  # a class came that was not there before, or jumped; whoever has looked sets it back
        self.last: dict[str, int] = {}  # the last second in which each class had a query

    def add(self, arrivals: Arrivals, *, now_s: int) -> None:
        """A record of `arrivals`; those of one class and second add up."""
        if not now_s - WINDOW_S <= arrivals.second <= now_s + 1:
            return
        if arrivals.klass not in self.last and len(self.last) >= CLASSES_MAX:
            return
        self.news = self.news or arrivals.klass not in self.last
        self.last[arrivals.klass] = max(arrivals.second, self.last.get(arrivals.klass, 0))
        counts = next((counts for second, counts in reversed(self._seconds) if second == arrivals.second), None)
        if counts is None:
            counts = {}
            self._seconds.append((arrivals.second, counts))
        count = counts[arrivals.klass] = counts.get(arrivals.klass, 0) + arrivals.count
        known = self._known.get(arrivals.klass)
        self.news = self.news or (known is not None and _surely(count, SURE) > NEWS * known)

    def levels(self, *, now_s: int) -> dict[str, float]:
        """Queries a second by class: the mean of the window, or of the last seconds if that is surely higher.

        The mean counts from a class's first second in the window: over all of it, what began a second ago would be
        small. Surely: by more than the standard deviation of a Poisson count over RECENT_S, or SURE of them in one.
        """
        self._seconds = deque(each for each in self._seconds if each[0] >= now_s - WINDOW_S)
        total: dict[str, int] = {}
        recent: dict[str, int] = {}
        single: dict[str, int] = {}
        first: dict[str, int] = {}
        newest = max((second for second, _ in self._seconds), default=now_s)
        for second, counts in self._seconds:
            for klass, count in counts.items():
                total[klass] = total.get(klass, 0) + count
                first[klass] = min(second, first.get(klass, second))
                if second > newest - RECENT_S:
                    recent[klass] = recent.get(klass, 0) + count
                if second == newest:
                    single[klass] = count
        self._known = {
            klass: max(
                count / (newest - first[klass] + 1), _surely(recent.get(klass, 0), 1.0) / RECENT_S,
                _surely(single.get(klass, 0), SURE),
            )
            for klass, count in total.items()
        }  # fmt: skip
        return dict(self._known)

    def forget(self, *, before_s: int) -> None:
        """Drop classes that had nothing since."""
        self.last = {klass: second for klass, second in self.last.items() if second >= before_s}


def _surely(count: int, deviations: float) -> float:
    return count - deviations * math.sqrt(count)
