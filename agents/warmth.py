"""What is kept loaded while nobody asks for it, so that the next query need not wait for a load. Pure.

Four policies. `always`: one lane of every task. `never`: nothing. `idle`: what was asked for within the last `keep_s`.
`histogram`: loaded again shortly before the next query is likely to come, and let go once it is not likely any more.

    pre-warm   = gamma p5(day) + (1 - gamma) p5(hour)      of the idle times between queries
    keep-alive = gamma p99(day) + (1 - gamma) p99(hour)

Source: INFless (ASPLOS'22), LSTH; bins, range and the test for being representative are those of the hybrid histogram
policy that it builds on (Shahrad et al., ATC'20).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Literal, assert_never

from agents.plan_classes import wanted_of

Policy = Literal["always", "never", "idle", "histogram"]

BIN_S, BINS = 60, 240  # four hours; longer idle times are counted as beyond
HOUR_S, HOURS = 3_600, 24
IDLE_MIN_S = 10  # a shorter pause is load: the level of a class is a mean of so long (observed.py)
GAMMA = 0.5
FIRST, LAST = 0.05, 0.99
GAPS_MIN = 10  # fewer idle times say nothing
BEYOND_MAX = 0.5  # of them may be longer than the range
SPREAD_MIN = 2.0  # coefficient of variation of the bins' counts, below which they are as good as uniform
PAUSE_MIN_S = 120  # to unload for less, and load again, is not worth it
TARGETS_MAX = 1_024


class Idle:
    """Idle times of one target: their histograms by hour, of the last day."""

    def __init__(self, second: int) -> None:
        self.last = second
        self._hours: deque[tuple[int, dict[int, int]]] = deque(maxlen=HOURS)

    def asked(self, second: int) -> None:
        """A query came in this second."""
        gap_s = second - self.last
        if gap_s <= 0:
            return
        self.last = second
        if gap_s < IDLE_MIN_S:
            return
        hour = second // HOUR_S
        if not self._hours or self._hours[-1][0] != hour:
            self._hours.append((hour, {}))
        bins = self._hours[-1][1]
        at = min(gap_s // BIN_S, BINS)
        bins[at] = bins.get(at, 0) + 1

    def windows(self, *, now_s: int) -> tuple[float, float] | None:
        """From when and until when after a query the next one is likely; None where the histogram does not say.

        The hour is the present one and the one before it.
        """
        hour = now_s // HOUR_S
        day = _sum(bins for at, bins in self._hours if at > hour - HOURS)
        late = _sum(bins for at, bins in self._hours if at >= hour - 1)
        if not representative(day):
            return None
        if not representative(late):
            return _window(day)
        (first, last), (first_late, last_late) = _window(day), _window(late)
        return GAMMA * first + (1 - GAMMA) * first_late, GAMMA * last + (1 - GAMMA) * last_late


class Warmth:
    """What was asked for when, of at most TARGETS_MAX targets: the one idle for longest makes room.

    A target is how classes begin: `task=digits`, `model=m`, `variant=v`.
    Units: `keep_s` is the window of `idle`, and of `histogram` where that does not say; `lead_s` for a load.
    """

    def __init__(self, policy: Policy, *, keep_s: float, lead_s: float = 30.0) -> None:
        self._policy = policy
        self._keep_s = keep_s
        self._lead_s = lead_s
        self._idle: dict[str, Idle] = {}

    def asked(self, last: Mapping[str, int]) -> None:
        """The last second of each class in which it had a query, as far as it is known."""
        seconds: dict[str, int] = {}
        for klass, second in last.items():
            wanted = wanted_of(klass, 0.0)
            if wanted is not None:
                target = f"{wanted.level}={wanted.target}"
                seconds[target] = max(second, seconds.get(target, second))
        for target, second in seconds.items():
            known = self._idle.get(target)
            if known is not None:
                known.asked(second)
                continue
            if len(self._idle) >= TARGETS_MAX:
                oldest = min(self._idle, key=lambda name: self._idle[name].last)
                if self._idle[oldest].last >= second:
                    continue
                del self._idle[oldest]
            self._idle[target] = Idle(second)

    def warm(self, *, now_s: int) -> tuple[str, ...] | None:
        """Targets of which a lane should be loaded now, asked for or not; None: one of every task."""
        match self._policy:
            case "always":
                return None
            case "never":
                return ()
            case "idle" | "histogram":
                return tuple(target for target, idle in sorted(self._idle.items()) if self._keeps(idle, now_s))
            case _:
                assert_never(self._policy)

    def _keeps(self, idle: Idle, now_s: int) -> bool:
        since_s = now_s - idle.last
        windows = idle.windows(now_s=now_s) if self._policy == "histogram" else None
        if windows is None:
            return since_s <= self._keep_s
        first, last = windows
        return (first - self._lead_s < PAUSE_MIN_S or since_s >= first - self._lead_s) and since_s <= last


def representative(bins: Mapping[int, int]) -> bool:
    """Whether idle times by bin tell when the next query comes; the bin BINS is those beyond the range."""
    total = sum(bins.values())
    if total < GAPS_MIN or bins.get(BINS, 0) > BEYOND_MAX * total:
        return False
    inside = [count for at, count in bins.items() if at < BINS]
    return BINS * sum(count * count for count in inside) / sum(inside) ** 2 - 1 >= SPREAD_MIN**2


def _window(bins: Mapping[int, int]) -> tuple[float, float]:
    return float(_bin(bins, FIRST) * BIN_S), float((_bin(bins, LAST) + 1) * BIN_S)


def _bin(bins: Mapping[int, int], quantile: float) -> int:
    """The bin in which the quantile lies."""
    rank, seen = max(1, math.ceil(quantile * sum(bins.values()) - 1e-9)), 0
    for at, count in sorted(bins.items()):
        seen += count
        if seen >= rank:
            return at
    return BINS


def _sum(hours: Iterable[Mapping[int, int]]) -> dict[int, int]:
    made: dict[int, int] = {}
    for bins in hours:
        for at, count in bins.items():
            made[at] = made.get(at, 0) + count
    return made
