"""l(b): how long a batch of b takes on one variant, from a few points, measured or predicted.

Between points the curve is linear; beyond the last it goes on with the last slope (or flat before the first).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self

import msgspec

from registry.correction import Knots, corrected


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One batch size. Units: microseconds, queries per second.

    `throughput_qps` is of all lanes together, every one of them busy; 0: not measured. `error` is the relative error
    of `p99_us` that cross-validation found where the point is predicted; what is decided adds it as a margin.
    """

    batch: int
    p50_us: int
    p99_us: int
    throughput_qps: float = 0.0
    samples: int = 0
    provenance: Literal["measured", "predicted"] = "measured"
    error: float = 0.0

    @property
    def p99_safe_us(self) -> int:
        """p99 with the margin that its provenance asks for."""
        return math.ceil(self.p99_us * (1.0 + self.error))


class LatencyProfile:
    """p50 and p99 of every batch size up to `batch_max`, tabulated once so that the hot path indexes a list.

    `p99_us` of a predicted point has its error as a margin on it; `p50_us` has none, as costs are not deadlines.

    Shapes: `p50_us` and `p99_us` are (batch_max + 1,); index 0 is 0 and never asked.
    Raises: AssertionError on no points, or points that are not sorted by a batch of at least 1.
    """

    __slots__ = ("batch_max", "p50_us", "p99_us")

    def __init__(self, points: Sequence[Point], *, batch_max: int) -> None:
        assert points, "a profile needs at least one point"
        assert batch_max >= 1
        sizes = [p.batch for p in points]
        assert sizes == sorted(set(sizes)), sizes
        assert sizes[0] >= 1
        self.batch_max = batch_max
        self.p50_us = _tabulate([(p.batch, p.p50_us) for p in points], batch_max)
        self.p99_us = _tabulate([(p.batch, p.p99_safe_us) for p in points], batch_max)

    @classmethod
    def linear(cls, *, fixed_us: float, per_item_us: float, batch_max: int) -> Self:
        """l(b) = fixed + per_item b, without spread: for stubs and tests."""
        ends = sorted({1, batch_max})
        points = [
            Point(batch=b, p50_us=round(fixed_us + per_item_us * b), p99_us=round(fixed_us + per_item_us * b))
            for b in ends
        ]
        return cls(points, batch_max=batch_max)

    def corrected(self, drift: float, knots: Knots = ()) -> Self:
        """The curve of one machine: `drift` times as slow, and its p99 by size as `knots` say (correction.py)."""
        made = type(self).__new__(type(self))
        made.batch_max = self.batch_max
        made.p50_us = corrected(self.p50_us, drift)
        made.p99_us = corrected(self.p99_us, drift, knots)
        return made

    def capped(self, batch_max: int) -> Self:
        """The same curve with a smaller largest batch; a larger one changes nothing."""
        if batch_max >= self.batch_max:
            return self
        made = type(self).__new__(type(self))
        made.batch_max = batch_max
        made.p50_us, made.p99_us = self.p50_us[: batch_max + 1], self.p99_us[: batch_max + 1]
        return made

    def batch_within(self, budget_us: int) -> int:
        """The largest batch whose p99 fits `budget_us`; 0 if none does."""
        fits = 0
        for batch in range(1, self.batch_max + 1):
            if self.p99_us[batch] <= budget_us:
                fits = batch
        return fits


def _tabulate(points: list[tuple[int, int]], batch_max: int) -> list[int]:
    table = [0]
    for batch in range(1, batch_max + 1):
        left = max((p for p in points if p[0] <= batch), default=points[0])
        right = min((p for p in points if p[0] >= batch), default=points[-1])
        if left[0] == right[0]:
            if batch > points[-1][0] and len(points) > 1:
                (b0, y0), (b1, y1) = points[-2], points[-1]
                value = y1 + (y1 - y0) * (batch - b1) / (b1 - b0)
            elif batch > points[-1][0]:
                value = points[-1][1] * batch / points[-1][0]
            else:
                value = left[1]
        else:
            value = left[1] + (right[1] - left[1]) * (batch - left[0]) / (right[0] - left[0])
        table.append(max(table[-1], round(value)))
    return table
