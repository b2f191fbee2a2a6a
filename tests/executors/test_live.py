"""A variant beside its profile: what is believed of its speed, how soon, and for how long."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.live import DOUBT_US, KNOTS_MAX, MEMORY, RATIO_MAX, RATIO_MIN, Doubt, Live
from registry.latency import LatencyProfile, Point
from tests.executors.builders import MS, T0

# p50 5 + b ms, p99 a quarter above it
CURVE = LatencyProfile(
    [Point(batch=b, p50_us=(5 + b) * MS, p99_us=(5 + b) * 1_250) for b in (1, 32)], batch_max=32
)  # fmt: skip
SIGMA = math.log(1.25) / 2.326  # of a lognormal spread with these quantiles


class Lane:
    """Batches one after another, each as long as the profile says, times what is asked."""

    def __init__(self, curve: LatencyProfile = CURVE) -> None:
        self.live, self.curve, self.now_us = Live(curve), curve, T0

    def runs(self, *times: float, size: int = 4) -> Lane:
        for one in times:
            took_us = round(self.curve.p50_us[size] * one)
            self.now_us += took_us
            self.live.measured(size, took_us, now_us=self.now_us)
        return self

    @property
    def doubt(self) -> Doubt:
        return self.live.doubt(now_us=self.now_us)


def spread(count: int, *, seed: int = 1, sigma: float = SIGMA) -> list[float]:
    return [float(one) for one in np.random.default_rng(seed).lognormal(0.0, sigma, count)]


def test_live_without_measurements_is_the_profile() -> None:
    """The prior."""
    lane = Lane()

    assert (lane.live.ratio, lane.live.knots, lane.doubt) == (1.0, (), Doubt.NONE)


@pytest.mark.parametrize("warm", [0, 3, 200])
@pytest.mark.parametrize("outlier", [0.0, 50.0, 1e6])
def test_live_one_outlier_changes_nothing(warm: int, outlier: float) -> None:
    """A page fault of a thousand times the batch, first, early or late: the level hardly moves."""
    lane = Lane().runs(*[1.0] * warm, outlier, *[1.0] * 10)

    assert lane.live.ratio == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("times", [1.5, 3.0, 8.0])
def test_live_slowing_is_known_after_three_batches(times: float) -> None:
    """Two are not enough; and three of another size tell as much."""
    lane = Lane().runs(*spread(200))

    two = lane.runs(times, times).live.ratio
    three = lane.runs(times, size=16).live.ratio

    assert two == pytest.approx(1.0, abs=0.1)
    assert three == pytest.approx(times, rel=0.1)


def test_live_recovery_is_known_after_three_batches() -> None:
    """As the slowing."""
    lane = Lane().runs(*spread(100), *[3.0] * 50)

    lane.runs(1.0, 1.0, 1.0)

    assert lane.live.ratio == pytest.approx(1.0, abs=0.1)
    assert lane.doubt is Doubt.NONE


@pytest.mark.parametrize("sigma", [0.02, SIGMA])
def test_live_noise_within_the_profiles_spread_is_no_change(sigma: float) -> None:
    """A thousand batches as the profile says: the level stays, and hardly a table is made anew."""
    lane = Lane()
    seen = [lane.runs(one).live.ratio for one in spread(1_000, sigma=sigma)]

    assert 0.9 < min(seen) <= max(seen) < 1.1
    assert lane.live.changes < 40


def test_live_noise_beyond_the_profiles_spread_is_learnt_as_such() -> None:
    """A profile without spread, a machine with some: the p99 of the size that runs rises to what it is, about 1.26."""
    flat = LatencyProfile.linear(fixed_us=5 * MS, per_item_us=MS, batch_max=32)

    lane = Lane(flat).runs(*spread(2_000, sigma=0.1))

    ((size, top),) = lane.live.knots
    assert size == 4
    assert lane.live.ratio * top == pytest.approx(math.exp(2.326 * 0.1), rel=0.1)


def test_live_size_that_the_profile_has_wrong_is_told_apart() -> None:
    """Batches of 16 take twice as long, those of 2 what they should: both are known, and the level stays."""
    lane = Lane()
    for one in spread(600):
        lane.runs(one, one, one, one, size=2).runs(2 * one, size=16)

    here = CURVE.corrected(lane.live.ratio, lane.live.knots)

    assert lane.live.ratio == pytest.approx(1.0, abs=0.15)
    assert here.p99_us[2] == pytest.approx(CURVE.p99_us[2], rel=0.2)
    assert here.p99_us[16] == pytest.approx(2 * CURVE.p99_us[16], rel=0.25)


def test_live_slow_level_is_doubted_once_no_batch_has_shown_it_for_a_second() -> None:
    """And believed again with the first batch that does."""
    lane = Lane().runs(*[1.0] * 5, *[3.0] * 5)
    fresh = lane.doubt
    lane.now_us += DOUBT_US + 1
    old = lane.doubt
    lane.runs(3.0)

    assert (fresh, old, lane.doubt) == (Doubt.NONE, Doubt.OLD, Doubt.NONE)
    assert lane.live.ratio == pytest.approx(3.0, rel=0.01)


def test_live_doubt_that_is_confirmed_to_be_right_says_so_until_three_agree() -> None:
    """The first quick batch after a second of nothing contradicts the level, the third makes it the new one."""
    lane = Lane().runs(*[1.0] * 5, *[3.0] * 5)
    lane.now_us += DOUBT_US + 1

    said = [(lane.runs(1.0).doubt, round(lane.live.ratio, 1)) for _ in range(3)]

    assert said == [(Doubt.CONTRADICTED, 3.0), (Doubt.CONTRADICTED, 3.0), (Doubt.NONE, 1.0)]


def test_live_level_of_the_profile_is_never_doubted() -> None:
    """Nothing is lost by believing it."""
    lane = Lane().runs(*[1.0] * 5)
    lane.now_us += 3_600_000_000

    assert lane.doubt is Doubt.NONE


def test_live_two_speeds_in_turn_do_not_swing() -> None:
    """Every other batch three times as long, as with two lanes of which one is slow: a wide spread, not two levels."""
    lane = Lane().runs(*[1.0, 3.0] * 50)
    levels = [lane.runs(one).live.ratio for one in [1.0, 3.0] * 100]

    assert max(levels) / min(levels) < 1.1
    assert CURVE.corrected(lane.live.ratio, lane.live.knots).p99_us[4] >= 3 * CURVE.p50_us[4]


def test_live_batch_above_the_cap_teaches_nothing() -> None:
    """Its profile is gone."""
    live = Live(CURVE)
    for _ in range(5):
        live.measured(33, 10**6, now_us=T0)
        live.measured(0, 10**6, now_us=T0)

    assert (live.ratio, live.changes) == (1.0, 0)


@given(
    st.lists(st.tuples(st.integers(1, 32), st.integers(0, 10**9)), max_size=300),
    st.integers(0, 10**6),
    st.integers(0, 3),
)
def test_live_stays_within_its_bounds(batches: list[tuple[int, int]], fixed_us: int, gap_s: int) -> None:
    """No measurement, not even of 0 beside a profile of 0, breaks it; and what it says is a curve."""
    curve = LatencyProfile.linear(fixed_us=fixed_us, per_item_us=0, batch_max=32)
    live, now_us = Live(curve), T0
    for size, took_us in batches:
        now_us += took_us + gap_s * 1_000_000
        live.measured(size, took_us, now_us=now_us)

        assert RATIO_MIN * 0.999 <= live.ratio <= RATIO_MAX * 1.001
        assert live.doubt(now_us=now_us) in Doubt
        assert len(live.knots) <= KNOTS_MAX
        assert all(0.99 / RATIO_MAX <= top <= 1.01 * RATIO_MAX for _, top in live.knots)
    assert len(live._cells) <= 32
    assert all(cell.count <= MEMORY for cell in live._cells.values())


@given(st.integers(0, 2**32 - 1), st.floats(1.5, 10), st.integers(5, 60))
def test_live_is_well_again_after_whatever_slowed_it(seed: int, times: float, slow: int) -> None:
    """Sixty batches after the end the level is the profile's, whatever the noise."""
    lane = Lane().runs(*spread(20, seed=seed), *[times * one for one in spread(slow, seed=seed)])

    lane.runs(*spread(60, seed=seed + 1))

    assert lane.live.ratio < math.sqrt(1.5)
