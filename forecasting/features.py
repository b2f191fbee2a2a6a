"""What the fitted forecasters look at: the last hour in several resolutions, jumps, and the clock.

The list and its windows are those of the study in docs/forecasting.md. Nothing is NaN: a window without a known second
takes what the next longer one says, and 0 if nothing is known at all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forecasting import jumps
from forecasting.rows import DAY_S, WINDOW_S, Floats, Rows

SPANS = (5, 20, 60, 180, 300, 600, 1_800, WINDOW_S)
LAGS = 9  # earlier minutes
HALF_HOUR_S, HOUR_S = 1_800, 3_600
FLAGS = ((29 * 60, 34 * 60 + 60), (59 * 60, 64 * 60 + 60))  # when bursts of people's clocks begin

CLOCK = (
    "day_sin", "day_cos", "day_sin_2", "day_cos_2", "time_of_day", "second_of_hour", "to_half_hour", "hour_parity",
    "around_30", "around_00",
)  # fmt: skip
RECENT = (
    "last",
    *(f"mean_{span}" for span in SPANS),
    *(f"max_{span}" for span in SPANS[:-1]),
    "dispersion_60", "sd_20", "min_60",
    *(f"minute_max_{lag}" for lag in range(1, LAGS + 1)),
    "mean_5_over_20", "mean_20_over_60", "mean_60_over_300", "last_30_over_60",
    "since_up", "since_up_start", "since_down", "since_down_start",
)  # fmt: skip
NAMES = (*RECENT, *CLOCK)

_EDGES = [WINDOW_S - span for span in reversed(SPANS)]  # of segments that do not overlap, oldest first


def features(rows: Rows) -> Floats:
    """Shapes: (n, len(NAMES)), in the order of NAMES; the first len(RECENT) know nothing of the clock."""
    return np.concatenate((recent(rows), clock(rows.second)), axis=1)


def recent(rows: Rows) -> Floats:
    """Everything but the clock. Shapes: (n, len(RECENT))."""
    rate, known = rows.rate, rows.known
    mean, top, seen = _spans(rate, known)
    minute, some = rate[:, -60:].astype(np.float64), known[:, -60:]
    count = np.maximum(1, some.sum(1))
    m60, m20 = mean[:, 2], mean[:, 1]
    var60 = np.where(some, (minute - m60[:, None]) ** 2, 0.0).sum(1) / count
    var20 = np.where(some[:, -20:], (minute[:, -20:] - m20[:, None]) ** 2, 0.0).sum(1)
    var20 /= np.maximum(1, some[:, -20:].sum(1))
    low = np.where(some, minute, np.inf).min(1)
    half = some[:, -30:].sum(1)
    m30 = np.where(half > 0, minute[:, -30:].sum(1) / np.maximum(1, half), m60)
    since = np.minimum(rows.second[:, None] - rows.jumps, jumps.SINCE_MAX_S).astype(np.float64)
    columns = (
        np.where(known[:, -1], minute[:, -1], mean[:, 0])[:, None],
        mean,
        top[:, :-1],
        (var60 / np.maximum(m60, 0.1))[:, None],
        np.sqrt(var20)[:, None],
        np.where(seen[:, 2] > 0, low, m60)[:, None],
        _minutes(rate, known, top[:, 2]),
        (mean[:, 0] - m20)[:, None],
        (m20 - m60)[:, None],
        (m60 - mean[:, 4])[:, None],
        (m30 - m60)[:, None],
        since,
    )
    return np.concatenate(columns, axis=1)


def clock(second: npt.NDArray[np.int64]) -> Floats:
    """Shapes: (n, len(CLOCK))."""
    of_day, of_hour = second % DAY_S, second % HOUR_S
    angle = of_day * (2 * np.pi / DAY_S)
    flags = [((of_hour - low) % HOUR_S < high - low).astype(np.float64) for low, high in FLAGS]
    return np.stack(
        (
            np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle), of_day.astype(np.float64),
            of_hour.astype(np.float64), (-second % HALF_HOUR_S).astype(np.float64),
            (second // HOUR_S % 2).astype(np.float64), *flags,
        ),
        axis=1,
    )  # fmt: skip


def level(rows: Rows) -> Floats:
    """The mean of the last minute, at least 1: the scale of errors. Shapes: (n,)."""
    some = rows.known[:, -60:]
    mean = rows.rate[:, -60:].sum(1, dtype=np.float64) / np.maximum(1, some.sum(1))
    scale: Floats = np.maximum(1.0, mean)
    return scale


def _spans(rate: npt.NDArray[np.float32], known: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Mean, maximum and known seconds of the last SPANS seconds. Shapes: (n, len(SPANS)) each."""
    sums = np.cumsum(np.add.reduceat(rate, _EDGES, axis=1, dtype=np.float64)[:, ::-1], axis=1)
    seen = np.cumsum(np.add.reduceat(known, _EDGES, axis=1, dtype=np.int64)[:, ::-1], axis=1)
    top = np.maximum.accumulate(np.maximum.reduceat(rate, _EDGES, axis=1)[:, ::-1].astype(np.float64), axis=1)
    mean = sums / np.maximum(1, seen)
    for k in range(len(SPANS) - 2, -1, -1):
        mean[:, k] = np.where(seen[:, k] > 0, mean[:, k], mean[:, k + 1])
        top[:, k] = np.where(seen[:, k] > 0, top[:, k], mean[:, k])
    return mean, top, seen


def _minutes(rate: npt.NDArray[np.float32], known: npt.NDArray[np.bool_], latest: Floats) -> Floats:
    """Maxima of the minutes 1 to LAGS before the last one; an unknown one is as the minute after it."""
    span = slice(-60 * (LAGS + 1), -60)
    tops: Floats = rate[:, span].reshape(len(rate), LAGS, 60).max(2)[:, ::-1].astype(np.float64)
    seen = np.logical_or.reduce(known[:, span].reshape(len(rate), LAGS, 60), axis=2)[:, ::-1]
    for k in range(LAGS):
        tops[:, k] = np.where(seen[:, k], tops[:, k], latest if k == 0 else tops[:, k - 1])
    return tops
