"""Holt-Winters: level, damped trend and, where it helps, a season of one hour, over window maxima.

statsmodels finds the parameters and the season; both are then kept, and level and trend are run over the last hour.
"""

from __future__ import annotations

import warnings
from typing import Any

import msgspec
import numpy as np

from forecasting.expert import Ask, Role, Seen, points
from forecasting.rows import Floats

HOUR_S = 3_600
WINDOWS_MAX = 2_160  # to fit on: 36 h of minutes, seconds of work
SEASONS_MIN = 3


class Holt(msgspec.Struct, frozen=True, kw_only=True, tag="holt"):
    """Parameters by horizon; `season[h]` has 3600 // h values by the time within the hour, zeros if there is none."""

    horizons_s: tuple[int, ...]
    alpha: tuple[float, ...]
    beta: tuple[float, ...]
    phi: tuple[float, ...]
    season: tuple[tuple[float, ...], ...]
    name: str = "Holt-Winters"
    role: Role = "grown"

    def predict(self, seen: Seen, ask: Ask) -> Floats:
        found = []
        for h in ask.horizons_s:
            k = self.horizons_s.index(h)
            alpha, beta, phi, season = self.alpha[k], self.beta[k], self.phi[k], np.array(self.season[k])
            windows = seen.windows(h)
            count = windows.shape[1]
            of_next = seen.rows.second % HOUR_S // h
            slots = (of_next[:, None] + np.arange(-count, 1)) % len(season)
            seasonal = season[slots]
            windows = windows - seasonal[:, :-1]
            level, trend = windows[:, 0], np.zeros(len(windows))
            for n in range(1, count):
                expected = level + phi * trend
                new = expected + alpha * (windows[:, n] - expected)
                trend = beta * (new - level) + (1 - beta) * phi * trend
                level = new
            found.append(np.maximum(0.0, level + phi * trend + seasonal[:, -1]))
        return points(found, ask)


def fit(windows: dict[int, Floats], *, start_slot: dict[int, int]) -> Holt:
    """Of maxima of consecutive windows by horizon, all known; `start_slot` is the first one's place in its hour."""
    made = [_fit(h, maxima[-WINDOWS_MAX:], _slot(h, maxima, start_slot[h])) for h, maxima in sorted(windows.items())]
    return Holt(
        horizons_s=tuple(sorted(windows)),
        alpha=tuple(one[0] for one in made), beta=tuple(one[1] for one in made),
        phi=tuple(one[2] for one in made), season=tuple(one[3] for one in made),
    )  # fmt: skip


def _slot(h: int, maxima: Floats, start: int) -> int:
    return (start + max(0, len(maxima) - WINDOWS_MAX)) % (HOUR_S // h)


def _fit(h: int, maxima: Floats, slot: int) -> tuple[float, float, float, tuple[float, ...]]:
    period = HOUR_S // h
    season = np.zeros(period)
    if len(maxima) < 10 or float(np.ptp(maxima)) == 0.0:
        return 1.0, 0.0, 1.0, tuple(season.tolist())  # nothing to learn: the last value
    places = (slot + np.arange(len(maxima))) % period
    half = len(maxima) // 2
    if half >= SEASONS_MIN * period:  # a season must help where it was not taken from
        tried = _season(maxima[:half], period, slot)
        if _smooth(maxima[half:] - tried[places[half:]])[1] < _smooth(maxima[half:])[1]:
            season = _season(maxima, period, slot)
    (alpha, beta, phi), _ = _smooth(maxima - season[places])
    return alpha, beta, phi, tuple(season.tolist())


def _smooth(maxima: Floats) -> tuple[tuple[float, float, float], float]:
    """statsmodels' parameters, and the sum of squared errors one window ahead."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the optimiser stopped early is no news here: what it has is used
        found: Any = ExponentialSmoothing(
            maxima, trend="add", damped_trend=True, initialization_method="estimated"
        ).fit()  # fmt: skip
    kept = found.params
    alpha, beta, phi = (float(kept[key]) for key in ("smoothing_level", "smoothing_trend", "damping_trend"))
    return (alpha, beta, phi), float(found.sse)


def _season(maxima: Floats, period: int, slot: int) -> Floats:
    """The mean by place in the hour, less the hour's mean (statsmodels' decomposition, additive)."""
    from statsmodels.tsa.seasonal import seasonal_decompose

    parts = seasonal_decompose(maxima, period=period, extrapolate_trend=period)
    season: Floats = np.asarray(parts.seasonal[:period], dtype=np.float64)
    return np.roll(season, slot)
