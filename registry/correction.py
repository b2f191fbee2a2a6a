"""A latency curve as it runs on one machine now: the profile's, times what was measured there."""

from __future__ import annotations

from collections.abc import Sequence

Knots = Sequence[tuple[int, float]]


def corrected(curve_us: Sequence[int], drift: float, knots: Knots = ()) -> list[int]:
    """Multiply a curve by `drift`, and each batch size by what was measured of it beyond that.

    A size between two knots takes a share of both, one outside of them the nearest one's: sizes that hardly ever run
    borrow from those that do. A larger batch is never quicker.

    Shapes:  `curve_us` (n + 1,), index 0 is no batch; `knots` are (size, ratio) by rising size.
    Returns: (n + 1,), whole microseconds.
    """
    if not knots:
        return [round(us * drift) for us in curve_us]
    made: list[int] = []
    least_us, right = 0, 0
    for size, us in enumerate(curve_us):
        while right < len(knots) and knots[right][0] < size:
            right += 1
        least_us = max(least_us, round(us * drift * _between(knots, right, size)))
        made.append(least_us)
    return made


def _between(knots: Knots, right: int, size: int) -> float:
    if right == 0:
        return knots[0][1]
    if right == len(knots):
        return knots[-1][1]
    (a, low), (b, high) = knots[right - 1], knots[right]
    return low + (high - low) * (size - a) / (b - a)
