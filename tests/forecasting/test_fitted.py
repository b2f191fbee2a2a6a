"""The forecasters that learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from forecasting import boosted, holt, lstm_training, ridge, training
from forecasting.boosted import Boosted
from forecasting.expert import Ask, Seen
from forecasting.features import NAMES
from forecasting.forecaster import Models
from forecasting.forest import flatten
from forecasting.lstm import INPUTS
from forecasting.rows import Series, maxima, rows, series
from forecasting.scores import pinball
from tests.forecasting.builders import START, at, diurnal, ending

ASK = Ask(horizons_s=(20, 60), quantiles=(0.5, 0.9))


def test_forest_is_what_scikit_learn_predicts() -> None:
    """Bit by bit the same leaves, on rows at, beside and beyond the thresholds."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(1)
    x = rng.integers(0, 40, (3_000, 6)).astype(np.float64)
    y = x[:, 0] * x[:, 1] + 10 * (x[:, 2] > 20) + rng.normal(size=3_000)
    with threadpool_limits(limits=1):
        fitted = [
            HistGradientBoostingRegressor(
                loss="quantile", quantile=q, max_iter=30, max_leaf_nodes=16, early_stopping=False
            ).fit(x, y)
            for q in (0.1, 0.5, 0.9)
        ]
    new = np.concatenate((x[:500], x[:500] + 0.5, rng.normal(0, 100, (500, 6))))

    forest = flatten(fitted, features=6)

    np.testing.assert_allclose(forest(new), np.stack([m.predict(new) for m in fitted], axis=1), atol=1e-4)
    np.testing.assert_array_equal(forest(new[:1]), forest(new)[:1])


def test_forest_of_a_constant_target_is_the_constant() -> None:
    """Trees without a split."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    x = np.random.default_rng(1).normal(size=(200, 2))
    fitted = HistGradientBoostingRegressor(max_iter=3, early_stopping=False).fit(x, np.full(200, 7.0))

    np.testing.assert_allclose(flatten([fitted], features=2)(x[:5]), 7.0)


def test_boosted_beats_the_last_value_on_regular_bursts(models: Models) -> None:
    """A day of bursts at each half hour: two thirds of the 90 % pinball loss of last x 1.1 on the next hours."""
    of = series(diurnal(20, seed=13), start=START)
    index = np.arange(14 * 3_600, len(of) - 180, 10)
    seen, actual = Seen(rows(of, index)), maxima(of, index, 60)
    trees = next(e for e in models.experts if isinstance(e, Boosted) and e.clock)

    found = trees.predict(seen, Ask(horizons_s=(60,), quantiles=(0.9,)))[:, 0, 0]

    assert pinball(found, actual, 0.9) < 0.67 * pinball(1.1 * seen.top(60), actual, 0.9)


def test_boosted_without_clock_does_not_look_at_it(models: Models) -> None:
    """Another time of day changes the one and not the other."""
    now, later = ending(*[30] * 60, before=30), ending(*[30] * 60, before=30, start=START + 5_400)
    with_clock, without = (e for e in models.experts if isinstance(e, Boosted))

    assert with_clock.clock
    assert not without.clock
    assert (with_clock.predict(now, models.ask) != with_clock.predict(later, models.ask)).any()
    np.testing.assert_array_equal(without.predict(now, models.ask), without.predict(later, models.ask))


def test_ridge_finds_a_line_and_the_quantiles_of_its_residuals() -> None:
    """Target twice the mean of a minute and noise of one root: found to a few per cent."""
    rng = np.random.default_rng(3)
    features = rng.uniform(10, 100, (20_000, len(NAMES)))
    level = features[:, NAMES.index("mean_60")]
    noise = rng.normal(size=(20_000, 1)) * np.sqrt(level)[:, None]
    one = Ask(horizons_s=(60,), quantiles=(0.5, 0.9))
    fitted = ridge.fit(features, level, 2 * level[:, None] + noise, one)
    seen = ending(before=50)

    found = fitted.predict(Seen(seen.rows, np.full((1, len(NAMES)), 50.0)), one)[0, 0]

    np.testing.assert_allclose(found, [100, 100 + 1.2816 * np.sqrt(50)], atol=0.5)


def test_ridge_of_a_constant_series_is_the_constant() -> None:
    """Features that never change have no weight, and nothing is divided by zero."""
    features, level = np.full((100, len(NAMES)), 5.0), np.full(100, 5.0)

    fitted = ridge.fit(features, level, np.full((100, 2), 5.0), ASK)

    np.testing.assert_allclose(fitted.predict(Seen(ending(before=5).rows, features[:1]), ASK), 5.0)


def test_holt_is_what_statsmodels_forecasts() -> None:
    """With its parameters, over an hour that begins where its fit does and no season."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    rng = np.random.default_rng(4)
    minutes = 50 + np.cumsum(rng.normal(0.4, 2, 60))
    seen = at(series(np.repeat(minutes, 60), start=START), 3_600)
    made = holt.Holt(horizons_s=(60,), alpha=(0.6,), beta=(0.3,), phi=(0.9,), season=((0.0,) * 60,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = ExponentialSmoothing(
            minutes.astype(np.float32), trend="add", damped_trend=True, initialization_method="known",
            initial_level=minutes[0], initial_trend=0.0,
        ).fit(smoothing_level=0.6, smoothing_trend=0.3, damping_trend=0.9, optimized=False)  # fmt: skip

    found = made.predict(seen, Ask(horizons_s=(60,), quantiles=(0.5,)))

    np.testing.assert_allclose(found.ravel(), theirs.forecast(1), rtol=1e-5)


def test_holt_learns_the_season_of_an_hour() -> None:
    """A burst in the first five minutes of each hour is expected before it comes; a wave without such hours is not."""
    rate = np.tile(np.concatenate((np.full(300, 80.0), np.full(3_300, 20.0))), 8)
    of = series(rate + np.random.default_rng(5).uniform(0, 2, len(rate)), start=START - START % 3_600)
    fitted = training.holt_winters(of, Ask(horizons_s=(60,)))

    found = fitted.predict(at(of, 7 * 3_600), Ask(horizons_s=(60,), quantiles=(0.5,)))

    assert 70 < found.item() < 90


def test_holt_of_a_constant_or_short_series_is_the_last_value() -> None:
    """Nothing to fit."""
    for length in (600, 4_000):
        of = series(np.full(length, 9.0), start=START)
        found = training.holt_winters(of, ASK).predict(at(of, length), ASK)
        np.testing.assert_allclose(found, 9.0)


@pytest.mark.parametrize("quantiles", [False, True])
def test_lstm_in_numpy_is_the_one_in_torch(quantiles: bool) -> None:
    """The same weights through torch's own arithmetic, one cell at a time."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    features = rng.uniform(0, 50, (64, len(NAMES)))
    made = lstm_training.fit(
        features, rng.uniform(0, 50, (64, 2)), ASK, quantiles=quantiles, rng=np.random.default_rng(1), epochs=2
    )
    x = torch.tensor(features[:, INPUTS] / made.scale)
    hidden = cell = torch.zeros(64, 25, dtype=torch.float64)
    for step in range(10):
        gates = x[:, step : step + 1] @ torch.tensor(made.kernel) + hidden @ torch.tensor(made.recurrent)
        i, f, g, o = (gates + torch.tensor(made.bias)).chunk(4, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.relu(g)
        hidden = torch.sigmoid(o) * torch.relu(cell)
    wanted = (hidden @ torch.tensor(made.dense) + torch.tensor(made.offset)).numpy() * made.scale

    found = made.predict(Seen(ending().rows, features), ASK)

    shaped = np.maximum(0, wanted).reshape(64, 2, -1)
    np.testing.assert_allclose(found, np.broadcast_to(shaped, (64, 2, 2)), rtol=1e-6)


def test_lstm_learns_and_repeats_itself() -> None:
    """Ten maxima about a level lead to that level, with the same weights for the same seed."""
    pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    level = rng.uniform(20, 60, (2_000, 1))
    features = level + rng.normal(size=(2_000, len(NAMES)))
    target = np.repeat(level, 2, axis=1)
    one, two = (
        lstm_training.fit(features, target, ASK, quantiles=False, rng=np.random.default_rng(1), epochs=40)
        for _ in range(2)
    )

    error = np.abs(one.predict(Seen(ending().rows, features), ASK)[:, 0, 0] - target[:, 0]).mean()

    assert error < 2.5  # 10 without looking
    np.testing.assert_array_equal(one.dense, two.dense)


def test_train_again_is_the_same(day: dict[str, Series], models: Models) -> None:
    """One seed, one result, array by array."""
    again = training.train(day, rng=np.random.default_rng(1), step_s=40)
    seen = at(day["busy"], 20_000, 40_000)

    for one, two in zip(models.experts, again.experts, strict=True):
        np.testing.assert_array_equal(one.predict(seen, models.ask), two.predict(seen, models.ask), err_msg=one.name)


def test_train_with_less_than_twelve_hours_trains_nothing() -> None:
    """What needs no training is left."""
    made = training.train({"a": series(diurnal(11, seed=1), start=START)}, rng=np.random.default_rng(1))

    assert made.trained_rows == 0
    assert made.names == ("negative binomial", "last", "last x 1.1", "last x 1.3")


def test_gather_purges_targets_that_cross_the_end() -> None:
    """The last row's longest target ends with the series; other counts after it change nothing."""
    rate = diurnal(2, seed=8)
    whole = series(np.concatenate((rate, np.full(600, 900.0))), start=START)
    cut = series(rate, start=START)

    learnt = training.gather({"a": cut}, ASK, rng=np.random.default_rng(1), step_s=10)

    last = len(rate) - 60
    assert len(learnt) == (last - 3_600) // 10 + 1
    np.testing.assert_array_equal(learnt.target[-1], [maxima(whole, np.array([last]), h)[0] for h in (20, 60)])


def test_fit_refuses_scikit_learn_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The forest reads private parts: if they no longer mean the same, training fails rather than forecasts."""
    monkeypatch.setattr(boosted, "flatten", lambda fitted, features: lambda x: np.zeros((len(x), len(fitted))))
    rng = np.random.default_rng(1)

    with pytest.raises(AssertionError, match="not what they were"):
        boosted.fit(rng.uniform(1, 9, (500, len(NAMES))), rng.uniform(50, 90, (500, 2)), ASK, trees=3)
