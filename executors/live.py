"""How one variant runs here beside its profile: a level that follows within a few batches, and quantiles by size.

The level is what all sizes share. It follows the median of the last batches slowly, so that one page fault changes
nothing, and at once when three in a row are off to the same side by more than the spread: so interference is known
after three batches, and so is its end. Beside it each size keeps a decayed median and 99th percentile, by stochastic
approximation: a step up or down a batch, as large as the spread allows and smaller the more was seen. All ratios are
kept as logarithms; O(1) a batch, one small cell for each size that ran.
"""

from __future__ import annotations

import enum
import math
from collections import deque

from registry.latency import LatencyProfile

RATIO_MIN, RATIO_MAX = 0.5, 16.0  # beyond these it is a fault of the profile or the machine, not a speed
AGREE = 3  # batches in a row that must be off to the same side, to change the level at once
RECENT = 5  # batches whose median it follows otherwise
FOLLOW = 0.05  # of the way, a batch
SPREAD_MIN = 0.05  # a profile of few samples, or of a stub, knows of no spread, but the clock and the loop have one
PRIOR = 8  # batches that a profile counts for, of each size
MEMORY = 200  # batches of a size that count, at most
TAIL_MEMORY = 100  # a 99th percentile cannot move by more than one batch in so many does
TAIL = 16.0  # spread / density at the 99th percentile of a normal distribution, as 1 is about that at the median
KNOTS_MAX = 8  # sizes that are published
KNOT_MIN = 0.05  # a size that differs by less than that from the level has nothing to say
TOLD = 0.03  # a smaller change of the level is not worth new tables
REVIEW = 16  # batches between two looks at the sizes
DOUBT_US = 1_000_000  # so long a slow level is believed without another batch, as a decoder's pace is


class Doubt(enum.IntEnum):
    """Whether what was measured still holds, where it is worse than the profile."""

    NONE = 0
    OLD = 1  # nothing ran for DOUBT_US: whoever is routed around for being slow would stay slow for ever
    CONTRADICTED = 2  # and the batch that was tried since was quicker


class Live:
    """Starts from the profile as the prior, and is a function of the batches measured.

    `ratio` is the measured median over the profiled one; `knots` say by how much more, or less, the 99th percentile
    of a size differs from the profiled one, beyond that. `changes` grows when either has moved enough for new tables.
    """

    __slots__ = (
        "_agreed_us",
        "_cells",
        "_count",
        "_latency",
        "_level",
        "_recent",
        "_told",
        "_unseen",
        "changes",
        "knots",
    )

    def __init__(self, latency: LatencyProfile) -> None:
        self._latency = latency
        self._level = 0.0
        self._recent = deque([0.0] * RECENT, maxlen=RECENT)
        self._cells: dict[int, Cell] = {}
        self._count = 0
        self._agreed_us = 0
        self._told = 0.0
        self._unseen = 0
        self.knots: tuple[tuple[int, float], ...] = ()
        self.changes = 0

    @property
    def ratio(self) -> float:
        return math.exp(self._level)

    def measured(self, size: int, took_us: int, *, now_us: int) -> None:
        """Fold one batch in; one larger than the profile's cap now teaches nothing."""
        latency = self._latency
        if not 1 <= size <= latency.batch_max:
            return
        p50_us = max(1, latency.p50_us[size])
        tail = math.log(max(p50_us, latency.p99_us[size]) / p50_us)
        cell = self._cells.get(size)
        if cell is None:
            cell = self._cells[size] = Cell()
        spread = cell.spread(tail)
        seen = math.log(max(1, took_us) / p50_us)
        before = cell.count
        cell.measured(seen - self._level, tail=tail)
        self._count += cell.count - before
        level = seen - cell.middle * (1.0 - cell.count / self._count)  # of a size that runs alone all is level
        self._recent.append(level)
        if self._jumps(spread):
            self._move(sorted(list(self._recent)[-AGREE:])[AGREE // 2] - self._level)
            for other in self._cells.values():
                other.count = (other.count + 1) // 2  # what is known of it is more of a first guess again
            self._count = sum(other.count for other in self._cells.values())
        else:
            off = sorted(self._recent)[RECENT // 2] - self._level
            self._move(FOLLOW * max(-spread, min(spread, off)))
            if abs(level - self._level) <= spread:
                self._agreed_us = now_us
        self._unseen += 1
        if self._unseen >= REVIEW:
            self._unseen = 0
            knots = self._known()
            self.changes += knots != self.knots
            self.knots = knots
        if abs(self._level - self._told) > TOLD:
            self._told = self._level
            self.changes += 1

    def doubt(self, *, now_us: int) -> Doubt:
        """Whether a level above the profile's spread should be tried again before it is believed."""
        latency = self._latency
        spread = max(SPREAD_MIN, math.log(max(1, latency.p99_us[1]) / max(1, latency.p50_us[1])))
        if self._level <= spread or abs(now_us - self._agreed_us) <= DOUBT_US:
            return Doubt.NONE
        return Doubt.CONTRADICTED if self._recent[-1] < self._level - spread else Doubt.OLD

    def _jumps(self, spread: float) -> bool:
        """Whether the last batches were all slower, or all quicker, than the level's spread explains."""
        off = [level - self._level for level in list(self._recent)[-AGREE:]]
        return min(off) > spread or max(off) < -spread

    def _move(self, by: float) -> None:
        self._level = min(math.log(RATIO_MAX), max(math.log(RATIO_MIN), self._level + by))

    def _known(self) -> tuple[tuple[int, float], ...]:
        """The sizes seen most, if any of them differs from the level."""
        most = sorted(self._cells.items(), key=lambda item: (-item[1].count, item[0]))[:KNOTS_MAX]
        tops = [(size, cell.top * cell.count / (cell.count + PRIOR)) for size, cell in most]
        if all(abs(top) < KNOT_MIN for _, top in tops):
            return ()
        return tuple(sorted((size, round(math.exp(top), 2)) for size, top in tops))


class Cell:
    """One batch size, beside the level: its median over the profiled one, and so its 99th percentile, as logarithms."""

    __slots__ = ("count", "middle", "top")

    def __init__(self) -> None:
        self.count = 0
        self.middle = 0.0
        self.top = 0.0

    def spread(self, tail: float) -> float:
        """log(p99 / p50) as it is here."""
        return max(SPREAD_MIN, tail + self.top - self.middle)

    def measured(self, beside: float, *, tail: float) -> None:
        """Fold one batch in: `beside` is log(took / profiled median) without the level, `tail` the profile's own.

        x <- x + a / n (p - [seen <= x]), which rests where a share p of what is seen is below x.
        """
        self.count = min(self.count + 1, MEMORY)
        spread = self.spread(tail)
        step = spread / (PRIOR + self.count)
        self.middle += step if beside > self.middle else -step if beside < self.middle else 0.0
        step = TAIL * spread / (TAIL_MEMORY + self.count)
        self.top += 0.99 * step if beside - tail > self.top else -0.01 * step
        limit = math.log(RATIO_MAX)
        self.middle, self.top = max(-limit, min(limit, self.middle)), max(-limit, min(limit, self.top))
