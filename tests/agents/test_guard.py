"""What is planned for: quantiles while they hold, the level with a margin while they do not."""

from __future__ import annotations

import msgspec
import pytest

from agents.guard import MARGIN_MAX, STALE_S, UNKNOWN, demand_of
from streams.plans import Demand
from streams.records import Forecast

FORECAST = Forecast(
    klass="c", second=100, horizons_s=(20, 60, 180), quantiles=(0.5, 0.9),
    qps=((90.0, 120.0), (100.0, 150.0), (110.0, 200.0)), level_qps=100.0, forecaster="f", backlog=7.0,
    covered=((0.5, 0.9),) * 3, loss=((0.1, 0.1),) * 3,
)  # fmt: skip


def demand(forecast: Forecast | None, *, now_s: float = 101.0, observed: float = 95.0) -> Demand:
    return demand_of(forecast, klass="c", now_s=now_s, near_s=10.0, far_s=60.0, observed_qps=observed)


def test_demand_of_takes_the_upper_quantile_of_the_first_horizon_that_reaches() -> None:
    """20 s for ten, 60 s for sixty; beyond the last one, that."""
    assert demand(FORECAST) == Demand(klass="c", near=120.0, far=150.0, measured=100.0, backlog=7.0)
    late = demand_of(FORECAST, klass="c", now_s=101.0, near_s=10.0, far_s=999.0, observed_qps=95.0)
    assert late.far == 200.0


def test_demand_of_without_a_forecast_is_the_level_with_a_margin() -> None:
    """So is it with one that is old, or of a hole in the counts."""
    plain = Demand(klass="c", near=UNKNOWN * 95.0, far=UNKNOWN * 95.0, measured=95.0)

    assert demand(None) == plain
    old = demand(FORECAST, now_s=101.0 + STALE_S)
    assert (old.near, old.backlog) == (plain.near, 7.0)
    assert demand(msgspec.structs.replace(FORECAST, fresh=False)).near == plain.near


def test_demand_of_what_is_observed_above_the_forecast_counts() -> None:
    """A burst that no forecast saw is planned for at once, near and far."""
    seen = demand(FORECAST, observed=400.0)

    assert (seen.near, seen.far, seen.measured) == (400.0, 400.0, 400.0)


@pytest.mark.parametrize(("covered", "factor"), [(0.9, 1.0), (0.86, 1.0), (0.75, 1.3), (0.0, MARGIN_MAX), (None, 1.1)])
def test_demand_of_a_forecast_that_was_wrong_gets_a_margin(covered: float | None, factor: float) -> None:
    """On the level, in place of a quantile that is exceeded too often."""
    wrong = msgspec.structs.replace(FORECAST, covered=((0.5, covered),) * 3)

    assert demand(wrong, observed=200.0).near == pytest.approx(200.0 * factor)
