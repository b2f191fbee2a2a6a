"""Series and rows for tests; the load of the tests that train is invented."""

from __future__ import annotations

import numpy as np

from forecasting.expert import Seen
from forecasting.rows import Floats, Rows, Series, rows, series

START = 1_700_000_400  # 22:20 UTC, on a full ten seconds


def ending(*latest: float, before: float = 0.0, start: int = START, length: int = 4_000) -> Seen:
    """One row whose hour is `before` all along and `latest` in its last seconds."""
    rate = np.full(length, before)
    rate[length - len(latest) :] = latest
    return at(series(rate, start=start, hole=np.zeros(length, dtype=np.bool_)), length)


def at(of: Series, *index: int) -> Seen:
    return Seen(rows(of, np.array(index, dtype=np.int64)))


def diurnal(hours: float, *, seed: int, mean: float = 40.0, burst_every_s: int = 1_800) -> Floats:
    """Poisson counts about a daily wave, with a burst of five minutes at each half hour."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(hours * 3_600))
    wave = 1 + 0.4 * np.sin(2 * np.pi * (START + t) / 86_400)
    burst = 1 + 1.5 * ((START + t) % burst_every_s < 300)
    return rng.poisson(mean * wave * burst).astype(np.float64)


def same(a: Rows, b: Rows) -> None:
    """Every array of the two is equal, NaN to NaN."""
    for name in Rows.__struct_fields__:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
