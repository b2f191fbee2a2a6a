"""How long ago the load jumped up or down, and when that began: bursts have a typical length.

Up: the mean of the last 20 s is more than 1.4 times that of the 300 s before them; down: less than a 1.4th.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RECENT_S, BEFORE_S = 20, 300
RATIO = 1.4
RECENT_MIN_S, BEFORE_MIN_S = 10, 60  # known seconds without which nothing is said
NEVER = -(10**12)
UP_LAST, UP_START, DOWN_LAST, DOWN_START = range(4)
SINCE_MAX_S = 7_200

Seconds = npt.NDArray[np.int64]


def none(classes: int) -> Seconds:
    """No jump so far. Shapes: (classes, 4), seconds by the four indices above."""
    return np.full((classes, 4), NEVER, dtype=np.int64)


def step(before: Seconds, rate: npt.NDArray[np.floating], known: npt.NDArray[np.bool_], *, second: int) -> Seconds:
    """The state after `second`, whose count is the last column.

    Shapes: `before` (n, 4); `rate` and `known` (n, w), w >= 320, `rate` 0 where unknown.
    """
    recent, past = slice(-RECENT_S, None), slice(-RECENT_S - BEFORE_S, -RECENT_S)
    rate = rate[:, -RECENT_S - BEFORE_S :].astype(np.float64)
    known = known[:, -RECENT_S - BEFORE_S :]
    up, down = _flags(
        rate[:, recent].sum(1), known[:, recent].sum(1), rate[:, past].sum(1), known[:, past].sum(1)
    )  # fmt: skip
    after = before.copy()
    for flag, last, start in ((up, UP_LAST, UP_START), (down, DOWN_LAST, DOWN_START)):
        begins = flag & (before[:, last] != second - 1)
        after[begins, start] = second
        after[flag, last] = second
    return after


def series(rate: npt.NDArray[np.floating], known: npt.NDArray[np.bool_], *, start: int) -> Seconds:
    """The state after each second of a whole series that begins at `start`.

    Shapes: `rate` and `known` (t,); the result (t, 4).
    """
    sums = np.concatenate(([0.0], np.cumsum(np.where(known, rate, 0.0), dtype=np.float64)))
    counts = np.concatenate(([0], np.cumsum(known)))
    end = np.arange(1, len(rate) + 1)
    middle, begin = np.maximum(end - RECENT_S, 0), np.maximum(end - RECENT_S - BEFORE_S, 0)
    flags = _flags(
        sums[end] - sums[middle], counts[end] - counts[middle],
        sums[middle] - sums[begin], counts[middle] - counts[begin],
    )  # fmt: skip
    second = np.arange(start, start + len(rate))
    found = none(len(rate))
    for flag, last, first in zip(flags, (UP_LAST, DOWN_LAST), (UP_START, DOWN_START), strict=True):
        begins = flag & ~np.concatenate(([False], flag[:-1]))
        found[:, last] = np.maximum.accumulate(np.where(flag, second, NEVER))
        found[:, first] = np.maximum.accumulate(np.where(begins, second, NEVER))
    return found


def _flags(
    recent: npt.NDArray[np.float64],
    recent_s: npt.NDArray[np.integer],
    past: npt.NDArray[np.float64],
    past_s: npt.NDArray[np.integer],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    enough = (recent_s >= RECENT_MIN_S) & (past_s >= BEFORE_MIN_S)
    up = enough & (recent * past_s > RATIO * past * recent_s)  # multiplied out: exact for counts
    down = enough & (recent * past_s * RATIO < past * recent_s)
    return up, down
