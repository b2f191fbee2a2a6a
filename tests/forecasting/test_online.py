"""Choosing and correcting online, on cases worked out by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from forecasting import online
from forecasting.backtest import replay
from forecasting.expert import Ask
from forecasting.forecaster import untrained
from forecasting.online import Online, Pending
from forecasting.rows import Floats

ONE = Ask(horizons_s=(20,), quantiles=(0.9,))
EVEN = np.ones(2)


def said(*values: float) -> Floats:
    """One forecast of each expert for one class, horizon and quantile."""
    return np.array(values)[:, None, None, None]


def scored(state: Online, experts: Floats, out: float, actual: float, *, step_s: float = 10) -> Online:
    pending = Pending(second=0, experts=experts, out=np.full((1, 1, 1), out), level=np.array([4.0]))
    return online.score(state, pending, 0, np.array([actual]), ONE, step_s=step_s)


def test_mix_before_anything_was_scored_goes_by_rank() -> None:
    """Ranks 1 and 1.1: the second counts exp(-2) of the first."""
    found = online.mix(online.begin(2, 1, ONE), said(10, 20), np.ones(1), np.array([1.0, 1.1]))

    np.testing.assert_allclose(found.item(), (10 + 20 * np.exp(-2)) / (1 + np.exp(-2)))


def test_score_fades_and_shifts() -> None:
    """Level 4: a miss by 2 costs .9 x 2 / 4 and lifts the correction by .009; half a half-life fades by its root."""
    state = scored(online.begin(2, 1, ONE), said(8, 13), 9, 10)

    np.testing.assert_allclose(state.loss.ravel(), [0.9 * 2 / 4, 0.1 * 3 / 4])
    np.testing.assert_allclose(state.shift.item(), 0.01 * 0.9)
    np.testing.assert_allclose(state.own_loss.item(), 0.9 / 4)
    assert state.covered.item() == 0

    state = scored(state, said(10, 10), 11, 10, step_s=3_600)

    np.testing.assert_allclose(state.loss.ravel(), np.array([0.45, 0.075]) / np.sqrt(2))
    np.testing.assert_allclose(state.weight.ravel(), 1 + 1 / np.sqrt(2))
    assert state.covered.item() == 1


def test_score_of_an_unknown_outcome_teaches_nothing() -> None:
    """A hole in the target."""
    begun = scored(online.begin(2, 1, ONE), said(8, 13), 9, 10)
    after = scored(begun, said(1, 2), 3, np.nan)

    for name in Online.__struct_fields__:
        np.testing.assert_array_equal(getattr(after, name), getattr(begun, name))


def test_mix_forgets_an_expert_that_errs() -> None:
    """After an hour of misses by ten, what errs by one has all the say; and the other way round after a change."""
    state = online.begin(2, 1, ONE)
    for _ in range(360):
        state = scored(state, said(99, 90), 99, 100)
    state = msgspec.structs.replace(state, shift=np.zeros((1, 1, 1)))
    np.testing.assert_allclose(online.mix(state, said(50, 70), np.ones(1), EVEN), 50.0, rtol=1e-6)

    for _ in range(1_440):
        state = scored(state, said(90, 99), 99, 100)
    state = msgspec.structs.replace(state, shift=np.zeros((1, 1, 1)))
    np.testing.assert_allclose(online.mix(state, said(50, 70), np.ones(1), EVEN), 70.0, rtol=1e-3)


def test_mix_leaves_out_what_is_not_in_use() -> None:
    """NaN says that an expert is not for this class."""
    assert online.mix(online.begin(2, 1, ONE), said(np.nan, 7), np.ones(1), EVEN).item() == 7
    with pytest.raises(AssertionError, match="without a forecaster"):
        online.mix(online.begin(2, 1, ONE), said(np.nan, np.nan), np.ones(1), EVEN)


def test_mix_of_experts_that_never_err() -> None:
    """A load of zero: every loss is zero, and so is what is published."""
    state = online.begin(2, 1, ONE)
    for _ in range(50):
        state = scored(state, said(0, 0), 0, 0)

    assert online.mix(state, said(0, 0), np.ones(1), EVEN).item() == 0


def test_mix_never_falls_with_the_quantile() -> None:
    """Corrected apart, they are put in order."""
    ask = Ask(horizons_s=(20,), quantiles=(0.5, 0.9))
    experts = np.array([12.0, 10.0]).reshape(1, 1, 1, 2)

    found = online.mix(online.begin(1, 1, ask), experts, np.ones(1), np.ones(1))

    assert found.ravel().tolist() == [12, 12]


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_tracking_keeps_the_coverage_of_a_biased_forecaster(factor: float) -> None:
    """Forecasts that are 10 % low, right and 10 % high: 90 % of what comes is covered, after some hours."""
    rng = np.random.default_rng(1)
    models = msgspec.structs.replace(untrained(ONE), experts=untrained(ONE).experts[:1], rank=(1.0,))
    at = np.arange(0, 86_400, 10)
    actual = rng.normal(100, 10, (len(at), 1))
    experts = np.full((1, len(at), 1, 1), factor * 112.8)

    out = replay(models, at, experts, actual, np.full(len(at), 100.0), step_s=10)

    covered = actual[:, 0] <= out[:, 0, 0]
    for half in (covered[2_000:5_300], covered[5_300:]):
        assert 0.88 < half.mean() < 0.92


def test_replay_learns_no_earlier_than_a_target_is_over() -> None:
    """Another outcome changes what is published when its 20 s are over, and not before."""
    models = untrained(ONE)
    at = np.arange(0, 200, 10)
    rng = np.random.default_rng(2)
    actual = rng.uniform(5, 15, (20, 1))
    experts = rng.uniform(5, 15, (len(models.experts), 20, 1, 1))
    other = actual.copy()
    other[8] = 500

    one, two = (replay(models, at, experts, y, np.full(20, 10.0), step_s=10) for y in (actual, other))

    np.testing.assert_array_equal(one[:10], two[:10])
    assert (one[10] != two[10]).all()
