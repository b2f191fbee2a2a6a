"""From a forecast to what is planned for: its upper quantile, and more than that while it was lately wrong. Pure.

A forecast that is exceeded more often than its quantile says, or by far, is no ground to plan on by itself: the
measured level then counts with a margin that grows with the error.
"""

from __future__ import annotations

from streams.plans import Demand
from streams.records import Forecast

NEAR_Q, FAR_Q = 0.9, 0.9  # quantiles planned for: exceeded once in ten horizons
UNKNOWN = 1.1  # margin on a level that nobody forecasts
STALE_S = 10.0  # a forecast made from counts older than this is history
MISSED = 0.05  # so much less often covered than the quantile says counts as wrong
MARGIN_MAX = 1.5


def demand_of(
    forecast: Forecast | None, *, klass: str, now_s: float, near_s: float, far_s: float, observed_qps: float
) -> Demand:
    """What to plan for.

    forecast:     the last one of the class, None without one that is fresh.
    Units:        `near_s`, `far_s` horizons of the two plans; `observed_qps` the mean of the last seconds' counts.
    """
    if forecast is None or not forecast.fresh or now_s - forecast.second > STALE_S:
        backlog = 0.0 if forecast is None else forecast.backlog
        asked = UNKNOWN * observed_qps
        return Demand(klass=klass, near=asked, far=asked, measured=observed_qps, backlog=backlog)
    level = max(forecast.level_qps, observed_qps)
    near = _asked(forecast, near_s, NEAR_Q, level)
    far = max(near, _asked(forecast, far_s, FAR_Q, level))
    return Demand(klass=klass, near=near, far=far, measured=level, backlog=forecast.backlog)


def _asked(forecast: Forecast, horizon_s: float, quantile: float, level: float) -> float:
    """The quantile at the first horizon that reaches so far, and at least the level with its margin."""
    h = next((n for n, each in enumerate(forecast.horizons_s) if each >= horizon_s), len(forecast.horizons_s) - 1)
    q = next((n for n, each in enumerate(forecast.quantiles) if each >= quantile), len(forecast.quantiles) - 1)
    return max(forecast.qps[h][q], level * margin(forecast, h, q))


def margin(forecast: Forecast, h: int, q: int) -> float:
    """A factor on the level: 1 while the forecast keeps what it promises, up to MARGIN_MAX as it does not.

    A quantile that covers 0.8 where it promises 0.9 is exceeded twice as often as it should be: a third of the way.
    """
    covered = forecast.covered[h][q] if forecast.covered else None
    if covered is None:
        return UNKNOWN
    missing = forecast.quantiles[q] - MISSED - covered
    if missing <= 0:
        return 1.0
    return min(MARGIN_MAX, UNKNOWN + missing * 2.0)
