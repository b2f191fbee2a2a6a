"""The level of each class's rate by the counts themselves, for what nobody forecasts, or no forecast saw. Pure."""

from __future__ import annotations

import math
from collections import deque

from streams.records import Arrivals

WINDOW_S = 10
RECENT_S = 2  # whole seconds in which a burst shows
CLASSES_MAX = 4_096


class Observed:
    """Counts of the last WINDOW_S seconds; of at most CLASSES_MAX classes, and none of the future."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, dict[str, int]]] = deque()
        self.news = False  # a class came that was not there before; whoever has looked sets it back
        self.last: dict[str, int] = {}  # the last second in which each class had a query

    def add(self, arrivals: Arrivals, *, now_s: int) -> None:
        """A record of `arrivals`; those of one class and second add up."""
        if not now_s - WINDOW_S <= arrivals.second <= now_s + 1:
            return
        if arrivals.klass not in self.last and len(self.last) >= CLASSES_MAX:
            return
        self.news = self.news or arrivals.klass not in self.last
        self.last[arrivals.klass] = max(arrivals.second, self.last.get(arrivals.klass, 0))
        for second, counts in reversed(self._seconds):
            if second == arrivals.second:
                counts[arrivals.klass] = counts.get(arrivals.klass, 0) + arrivals.count
                return
        self._seconds.append((arrivals.second, {arrivals.klass: arrivals.count}))

    def levels(self, *, now_s: int) -> dict[str, float]:
        """Queries a second by class: the mean of the window, or of the last RECENT_S if that is surely higher.

        The mean counts from a class's first second in the window: over all of it, what began a second ago would be
        small. Surely: by more than the standard deviation of a Poisson count.
        """
        self._seconds = deque(each for each in self._seconds if each[0] >= now_s - WINDOW_S)
        total: dict[str, int] = {}
        recent: dict[str, int] = {}
        first: dict[str, int] = {}
        newest = max((second for second, _ in self._seconds), default=now_s)
        for second, counts in self._seconds:
            for klass, count in counts.items():
                total[klass] = total.get(klass, 0) + count
                first[klass] = min(second, first.get(klass, second))
                if second > newest - RECENT_S:
                    recent[klass] = recent.get(klass, 0) + count
        return {
            klass: max(count / (newest - first[klass] + 1), (_surely(recent.get(klass, 0))) / RECENT_S)
            for klass, count in total.items()
        }

    def forget(self, *, before_s: int) -> None:
        """Drop classes that had nothing since."""
        self.last = {klass: second for klass, second in self.last.items() if second >= before_s}


def _surely(count: int) -> float:
    return count - math.sqrt(count)
