"""The forecasters that need no training, on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting.ewma import Ewma
from forecasting.expert import Ask, Expert
from forecasting.headroom import Headroom
from forecasting.last import LastValue
from forecasting.negbin import NegativeBinomial
from forecasting.rows import DAY_S, series
from forecasting.seasonal import SeasonalNaive
from tests.forecasting.builders import START, at, ending

ONE = Ask(horizons_s=(20,), quantiles=(0.5, 0.9))
SIMPLE: tuple[Expert, ...] = (LastValue(), Headroom(1.1), Ewma(), SeasonalNaive(), NegativeBinomial())


def test_last_value_is_the_maximum_of_as_many_seconds_before() -> None:
    """A peak 21 s ago counts for a minute and no longer for 20 s."""
    seen = ending(90, *[7] * 15, 9, *[5] * 4, before=3)

    found = LastValue().predict(seen, Ask(horizons_s=(20, 60), quantiles=(0.5, 0.9)))

    assert found.tolist() == [[[9, 9], [90, 90]]]


def test_last_value_in_a_hole_is_what_came_before_it() -> None:
    """After 30 s without a count the last 20 s say nothing: the hour does."""
    rate = np.full(4_000, 12.0)
    hole = np.zeros(4_000, dtype=np.bool_)
    hole[-30:] = True

    assert LastValue().predict(at(series(rate, start=START, hole=hole), 4_000), ONE).tolist() == [[[12, 12]]]


def test_headroom_multiplies() -> None:
    """1.1 times ten."""
    np.testing.assert_allclose(Headroom(1.1).predict(ending(before=10), ONE), 11.0)
    assert Headroom(1.3).name == "last x 1.3"


def test_ewma_weighs_windows() -> None:
    """.8 of the last window's maximum, .16 of the one before, the rest of what was before."""
    seen = ending(*[20] * 20, *[30] * 20, before=10)

    np.testing.assert_allclose(Ewma(0.8).predict(seen, ONE), 0.8 * 30 + 0.16 * 20 + 0.04 * 10)


def test_seasonal_naive_is_the_same_time_yesterday() -> None:
    """The peak of the 20 s that began a day ago; another one 30 s later is not in it."""
    length = DAY_S + 1_000
    rate = np.full(length, 5.0)
    rate[1_000 + 13] = 50.0
    rate[1_000 + 30] = 70.0

    assert SeasonalNaive().predict(at(series(rate, start=START), length), ONE).tolist() == [[[50, 50]]]


def test_seasonal_naive_without_yesterday_is_the_last_value() -> None:
    """An hour of history has no yesterday."""
    assert SeasonalNaive().predict(ending(8, before=3), ONE).tolist() == [[[8, 8]]]


def test_negative_binomial_is_the_quantile_of_the_maximum() -> None:
    """Against draws: the 90 % quantile of the maximum of 20 counts with mean 100 and variance 400."""
    rng = np.random.default_rng(1)
    draws = rng.negative_binomial(100 / 3, 0.25, size=(100_000, 20)).max(1)
    past = rng.negative_binomial(100 / 3, 0.25, size=60).astype(float)
    scale = np.array(past)
    scale = 100 + (scale - scale.mean()) * 20 / scale.std()  # exactly this mean and dispersion
    scale[-20:] += 100 - scale[-20:].mean()
    seen = ending(*np.maximum(0, scale))

    found = NegativeBinomial().predict(seen, ONE)[0, 0]

    np.testing.assert_allclose(found, np.quantile(draws, [0.5, 0.9]), rtol=0.03)


@pytest.mark.parametrize(("before", "after"), [(40.0, 160.0), (160.0, 40.0)])
def test_negative_binomial_after_a_jump_goes_by_the_new_level(before: float, after: float) -> None:
    """20 s after it, the minute's variance is the jump's; it says what it would of a minute at the new level."""
    rng = np.random.default_rng(2)
    new = rng.poisson(after, 60).astype(float)
    jumped = NegativeBinomial().predict(ending(*rng.poisson(before, 40).astype(float), *new[-20:]), ONE)
    settled = NegativeBinomial().predict(ending(*new), ONE)

    np.testing.assert_allclose(jumped, settled, rtol=0.12)


@pytest.mark.parametrize("expert", SIMPLE, ids=lambda e: e.name)
def test_zero_load_is_forecast_as_zero(expert: Expert) -> None:
    """Nothing came for an hour: nothing is expected."""
    assert expert.predict(ending(), ONE).tolist() == [[[0, 0]]]


@pytest.mark.parametrize("expert", [e for e in SIMPLE if e.name != "negative binomial"], ids=lambda e: e.name)
def test_constant_load_is_forecast_as_itself(expert: Expert) -> None:
    """All but the headroom say 10; that says 11."""
    found = expert.predict(ending(before=10), ONE)

    np.testing.assert_allclose(found, 11 if isinstance(expert, Headroom) else 10)


def test_ask_refuses_disorder() -> None:
    """Quantiles that fall are a bug of the caller."""
    with pytest.raises(AssertionError):
        Ask(quantiles=(0.9, 0.5))
