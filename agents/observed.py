"""The level of each class's rate by the counts themselves, for what nobody forecasts, or no forecast saw. Pure."""

from __future__ import annotations

import math

import msgspec

from streams.records import Arrivals

WINDOW_S = 10
RECENT_S = 2  # whole seconds in which a burst shows
SURE = 2.0  # standard deviations below a single second's count: so much it surely was
PART_MIN = 0.2  # of a second: less shows nothing
NEWS = 1.3  # times what was known before: worth a look at once
CLASSES_MAX = 4_096


class Second(msgspec.Struct):
    """Counts by class. `part`: of the second had passed when the last of them was told."""

    counts: dict[str, int] = {}
    part: float = 0.0


class Observed:
    """Counts of the last WINDOW_S seconds; of at most CLASSES_MAX classes, and none of the future."""

    def __init__(self) -> None:
        self._seconds: dict[int, Second] = {}
        self._known: dict[str, float] = {}  # levels as they were last told
        self.news = False  # a class came that was not there before, or jumped; whoever has looked sets it back
        self.last: dict[str, int] = {}  # the last second in which each class had a query

    def add(self, arrivals: Arrivals, *, now_s: int) -> None:
        """A record of `arrivals`; those of one class and second add up."""
        klass = arrivals.klass
        if not now_s - WINDOW_S <= arrivals.second <= now_s + 1:
            return
        if klass not in self.last and len(self.last) >= CLASSES_MAX:
            return
        self.news = self.news or klass not in self.last
        self.last[klass] = max(arrivals.second, self.last.get(klass, 0))
        second = self._seconds.get(arrivals.second)
        if second is None:
            second = self._seconds[arrivals.second] = Second()
        second.counts[klass] = second.counts.get(klass, 0) + arrivals.count
        second.part = max(second.part, min(1.0, arrivals.part))
        known = self._known.get(klass)
        self.news = self.news or (known is not None and jumped(second.counts[klass], known, part=second.part))

    def levels(self, *, now_s: int) -> dict[str, float]:
        """Queries a second by class: the mean of the window, or what the last seconds show if that is surely higher.

        The mean counts from a class's first second in the window: over all of it, what began a second ago would be
        small. Surely: by more than the standard deviation of a Poisson count over RECENT_S. After a jump (each second
        since then is NEWS times the mean before it, by SURE of them) the mean is that of the seconds since.
        """
        self._seconds = {at: second for at, second in self._seconds.items() if at >= now_s - WINDOW_S}
        newest = max(self._seconds, default=now_s)
        part = max(PART_MIN, self._seconds[newest].part) if self._seconds else 1.0
        by_class: dict[str, dict[int, int]] = {}
        for at, second in self._seconds.items():
            for klass, count in second.counts.items():
                by_class.setdefault(klass, {})[at] = count
        self._known = {klass: _level(counts, newest, part) for klass, counts in by_class.items()}
        return dict(self._known)

    def forget(self, *, before_s: int) -> None:
        """Drop classes that had nothing since."""
        self.last = {klass: second for klass, second in self.last.items() if second >= before_s}


def surely(count: float, deviations: float) -> float:
    """What a Poisson count shows at least."""
    return count - deviations * math.sqrt(count)


def jumped(count: int, before: float, *, part: float = 1.0) -> bool:
    """Whether a count over `part` of a second is surely more than NEWS times the rate before."""
    return surely(count, SURE) > NEWS * max(PART_MIN, part) * before


def _level(counts: dict[int, int], newest: int, part: float) -> float:
    """Of one class, by its counts of the window; of the newest second, which is everybody's, only `part` has been."""
    total, first = sum(counts.values()), min(counts)
    if first == newest:
        return float(total)
    if seconds := _since_jump(counts, total, first, newest, part):
        return sum(counts.get(second, 0) for second in range(newest - seconds + 1, newest + 1)) / (seconds - 1 + part)
    recent = sum(count for second, count in counts.items() if second > newest - RECENT_S)
    return max(total / (newest - first + part), surely(recent, 1.0) / (RECENT_S - 1 + part))


def _since_jump(counts: dict[int, int], total: int, first: int, newest: int, part: float) -> int:
    """The most of the last seconds of which each is surely more than NEWS times the mean before them."""
    found, lowest, rest = 0, math.inf, total
    for seconds in range(1, newest - first + 1):
        count = counts.get(newest - seconds + 1, 0)
        lowest, rest = min(lowest, surely(count, SURE) / (part if seconds == 1 else 1.0)), rest - count
        if lowest > NEWS * rest / (newest - seconds - first + 1):
            found = seconds
    return found
