"""Features: what they are, that they do not look ahead, and that the live way gives what the batch way gives."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting import history
from forecasting.features import CLOCK, NAMES, clock, features
from forecasting.gaps import holes
from forecasting.rows import DAY_S, maxima, rows, series
from tests.forecasting.builders import START, diurnal, ending, same


def named(seen_features: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> dict[str, float]:
    return dict(zip(NAMES, seen_features[0].tolist(), strict=True))


def test_features_of_a_small_case() -> None:
    """Means, maxima, differences and dispersion of a minute that ends with ten busy seconds."""
    found = named(ending(*[10] * 50, *[40] * 10, before=10).features)

    assert len(NAMES) == 46
    assert (found["last"], found["mean_5"], found["mean_20"], found["mean_60"]) == (40, 40, 25, 15)
    assert (found["max_5"], found["max_1800"], found["min_60"]) == (40, 40, 10)
    assert found["dispersion_60"] == pytest.approx((50 * 25 + 10 * 625) / 60 / 15)
    assert found["sd_20"] == pytest.approx(15)
    assert (found["minute_max_1"], found["minute_max_9"]) == (10, 10)
    assert (found["mean_5_over_20"], found["mean_20_over_60"]) == (15, 10)
    assert found["last_30_over_60"] == 5
    assert found["since_down"] == 7_200


def test_features_since_a_jump() -> None:
    """The mean of 20 s is over 1.4 times ten after three seconds of 40: 8 of the ten seconds ago that began."""
    found = named(ending(*[40] * 10, before=10).features)

    assert (found["since_up"], found["since_up_start"]) == (1, 8)


def test_clock_of_a_known_moment() -> None:
    """2023-11-14 22:29:30 UTC: 30 s to the half hour, within the flag that begins at :29."""
    found = dict(zip(CLOCK, clock(np.array([1_700_000_970]))[0].tolist(), strict=True))

    assert found["time_of_day"] == 22 * 3_600 + 29 * 60 + 30
    assert (found["second_of_hour"], found["to_half_hour"], found["hour_parity"]) == (1_770, 30, 0)
    assert (found["around_30"], found["around_00"]) == (1, 0)


def test_features_without_any_count_are_finite() -> None:
    """A row of which nothing is known."""
    empty = series(np.zeros(100), start=START, hole=np.ones(100, dtype=np.bool_))

    assert np.isfinite(features(rows(empty, np.array([0, 50, 100])))).all()


def test_features_do_not_look_ahead() -> None:
    """Another future, with other holes, changes no row and no feature of the past."""
    rate = diurnal(3, seed=2)
    rate[5_000:5_040] = 0
    other = rate.copy()
    other[8_000:] = np.random.default_rng(3).poisson(500, len(rate) - 8_000)
    other[9_000:9_100] = 0
    at = np.array([3_600, 5_020, 5_100, 7_999, 8_000])

    one, two = (rows(series(x, start=START), at) for x in (rate, other))

    same(one, two)
    np.testing.assert_array_equal(features(one), features(two))
    assert features(rows(series(other, start=START), np.array([8_001]))).tolist() != (
        features(rows(series(rate, start=START), np.array([8_001]))).tolist()
    )


def test_rows_second_by_second_are_those_of_the_whole_series() -> None:
    """Live and batch agree in every array over two hours with holes, a restart of the feed, and a day's change."""
    rate = diurnal(2, seed=4, mean=30)
    rate[4_000:4_050] = 0
    rate[6_300:6_900] = 0
    of = series(rate, start=START)
    state = history.empty()
    compared = 0
    for n, count in enumerate(rate):
        state = history.observe(state, START + n, {"a": count})
        if n > 3_990 and (n % 97 == 0 or n in (4_049, 4_050, 6_899, 6_900)):
            same(state.rows(), rows(of, np.array([n + 1])))
            compared += 1

    assert compared > 30
    assert int((~of.known).sum()) == 650


def test_rows_remember_yesterday() -> None:
    """The blocks of a day ago, live as in the series."""
    rate = diurnal(24.5, seed=5)
    of = series(rate, start=START)
    state = history.empty()
    for n in range(len(rate) - len(rate) % 10):
        if n % 10 == 9:  # the maximum of ten seconds once, for speed
            state = history.observe(state, START + n, {"a": rate[n - 9 : n + 1].max()})
    live = state.rows().yesterday
    whole = rows(of, np.array([state.second - START])).yesterday

    assert state.second - START > DAY_S
    np.testing.assert_array_equal(live, whole)


def test_maxima_are_unknown_where_a_second_is() -> None:
    """A target that touches a hole, or the end, is no target."""
    hole = np.zeros(100, dtype=np.bool_)
    hole[50] = True
    of = series(np.arange(100, dtype=np.float64), start=START, hole=hole)

    found = maxima(of, np.array([0, 30, 31, 50, 51, 80, 81]), 20)

    np.testing.assert_array_equal(found, [19, 49, np.nan, np.nan, 70, 99, np.nan])


@pytest.mark.parametrize(
    ("rate", "run", "wanted"),
    [
        (60.0, 1, 1),  # one silent second of a busy feed
        (10.0, 1, 0),  # exp(-10) is not rare enough
        (10.0, 2, 2),
        (2.0, 60, 0),  # a thin feed is idle at times
        (60.0, 4_000, 3_600),  # longer than an hour: there is no load
    ],
)
def test_holes_are_runs_that_chance_does_not_make(rate: float, run: int, wanted: int) -> None:
    """By the rate before, and the length."""
    total = np.concatenate((np.full(600, rate), np.zeros(run), np.full(100, rate)))

    assert int(holes(total).sum()) == wanted


def test_holes_are_not_the_idle_seconds_of_a_bursty_feed() -> None:
    """Ten busy seconds a minute: the other fifty are load of zero."""
    assert not holes(np.tile(np.concatenate((np.full(10, 300.0), np.zeros(50))), 60)).any()
