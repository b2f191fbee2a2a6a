"""What a forecast is made from: one row a class (live), or one row a moment of a series (training, backtests).

Every forecaster takes rows, so the code that is tested in a backtest is the code that runs.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from forecasting import jumps
from forecasting.gaps import holes

WINDOW_S = 3_600
BLOCK_S = 10
DAY_S = 86_400
DAY_BLOCKS = DAY_S // BLOCK_S
HORIZON_MAX_S = 300
AHEAD_BLOCKS = HORIZON_MAX_S // BLOCK_S  # of yesterday, from this time of day on
FRESH_S, FRESH_MIN_S = 60, 30  # a forecast needs this many known seconds of the last minute

Rates = npt.NDArray[np.float32]
Known = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Seconds = npt.NDArray[np.int64]


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """The last hour of each row, up to but not including its `second`.

    Shapes: `rate` and `known` (n, 3600), oldest first, `rate` 0 where unknown; `jumps` (n, 4), see there; `second`
            (n,); `age_s` (n,), since the first count; `yesterday` (n, 30): maxima of the 10 s blocks from a day
            before `second` on, NaN where unknown.
    Units:  queries a second; seconds since the epoch, in the zone whose clock the load follows.
    """

    rate: Rates
    known: Known
    jumps: Seconds
    second: Seconds
    age_s: Seconds
    yesterday: Floats

    def __len__(self) -> int:
        return len(self.second)

    @property
    def fresh(self) -> npt.NDArray[np.bool_]:
        """(n,): enough of the last minute is known, and its last second is."""
        fresh: npt.NDArray[np.bool_] = (self.known[:, -FRESH_S:].sum(1) >= FRESH_MIN_S) & self.known[:, -1]
        return fresh

    def take(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Rows:
        return Rows(**{name: getattr(self, name)[which] for name in self.__struct_fields__})


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A whole series of one class, for training and backtests.

    Shapes: `rate` and `known` (t,), `rate` 0 where unknown; `jumps` (t + 1, 4) before each second; `blocks` (b,).
    """

    start: int
    rate: Rates
    known: Known
    jumps: Seconds
    blocks: Floats

    def __len__(self) -> int:
        return len(self.rate)


def series(rate: npt.NDArray[np.floating], *, start: int, hole: Known | None = None) -> Series:
    """Of counts per second from `start` on; `hole` says where they are unknown (else found by `gaps.holes`).

    NaN is unknown too.

    Raises: AssertionError on a negative count, or a start that is no multiple of 10 s.
    """
    assert start % BLOCK_S == 0, f"start {start} is no multiple of {BLOCK_S}"
    assert not (rate < 0).any()
    known = ~(holes(rate) if hole is None else hole) & np.isfinite(rate)
    rate = np.where(known, rate, 0).astype(np.float32)
    whole = len(rate) // BLOCK_S * BLOCK_S
    some = known[:whole].reshape(-1, BLOCK_S).any(1)
    blocks = np.where(some, rate[:whole].reshape(-1, BLOCK_S).max(1), np.nan).astype(np.float64)
    return Series(
        start=start, rate=rate, known=known, blocks=blocks,
        jumps=np.concatenate((jumps.none(1), jumps.series(rate, known, start=start))),
    )  # fmt: skip


def rows(of: Series, at: npt.NDArray[np.int64]) -> Rows:
    """One row for each index `at` into the series: what is known just before that second."""
    pad = WINDOW_S
    rate = np.concatenate((np.zeros(pad, dtype=np.float32), of.rate))
    known = np.concatenate((np.zeros(pad, dtype=np.bool_), of.known))
    first = (at + of.start) // BLOCK_S - of.start // BLOCK_S - DAY_BLOCKS
    index = first[:, None] + np.arange(AHEAD_BLOCKS)
    inside = (index >= 0) & (index < len(of.blocks))
    yesterday = np.where(inside, of.blocks[np.clip(index, 0, max(0, len(of.blocks) - 1))], np.nan)
    return Rows(
        rate=sliding_window_view(rate, WINDOW_S)[at],
        known=sliding_window_view(known, WINDOW_S)[at],
        jumps=of.jumps[at], second=at + of.start, age_s=at.astype(np.int64), yesterday=yesterday,
    )  # fmt: skip


def maxima(of: Series, at: npt.NDArray[np.int64], horizon_s: int) -> Floats:
    """The highest rate of the `horizon_s` seconds from each index on; NaN where one of them is unknown.

    Shapes: `at` (n,), the result (n,).
    """
    rate = np.concatenate((of.rate, np.zeros(horizon_s, dtype=np.float32)))
    unknown = np.concatenate((~of.known, np.ones(horizon_s, dtype=np.bool_)))
    missing = np.concatenate(([0], np.cumsum(unknown)))
    found: Floats = sliding_window_view(rate, horizon_s)[at].max(1).astype(np.float64)
    found[missing[at + horizon_s] > missing[at]] = np.nan
    return found
