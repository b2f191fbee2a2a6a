"""Loads of scenarios: their shapes, their sums, and where a trace is steepest."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.loads import JUMP, SHAPES, Ask, Shape, made, of_trace, steepest

ASKS = (
    Ask(task="a", slo_ms=300),
    Ask(task="b", slo_ms=500),
    Ask(task="b", slo_ms=500, accuracy_min=0.7),
    Ask(task="a", priority=0),
)


def scene(shape: Shape, seconds: int = 400) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return made(shape, ASKS, seconds=seconds, qps=100.0, rng=np.random.default_rng(3)).qps


def test_burst_jumps_within_a_second_and_goes_back() -> None:
    """A quarter, all, a quarter; the offline class is even."""
    qps = scene("burst")
    total = qps[:, :3].sum(axis=1)

    assert total[165:315].mean() == pytest.approx(100, rel=0.1)
    assert total[:155].mean() == pytest.approx(100 / JUMP, rel=0.1)
    assert total[160] / total[159] > JUMP * 0.7
    assert set(qps[:, 3]) == {10.0}


def test_diurnal_is_lowest_at_both_ends() -> None:
    """A fifth of the noon's load."""
    total = scene("diurnal")[:, :3].sum(axis=1)

    assert total[:20].mean() == pytest.approx(20, rel=0.25)
    assert total[190:210].mean() == pytest.approx(100, rel=0.15)


def test_mix_shift_keeps_the_total_and_turns_the_parts_round() -> None:
    """Nine tenths to one tenth."""
    qps = scene("mix-shift")
    total = qps[:, :3].sum(axis=1)

    assert total.min() > 80
    assert qps[:50, 0].sum() / total[:50].sum() == pytest.approx(0.9, abs=0.03)
    assert qps[-50:, 0].sum() / total[-50:].sum() == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("shape", SHAPES)
def test_made_is_the_same_for_the_same_seed_and_works_with_one_class(shape: Shape) -> None:
    """And never negative."""
    assert (scene(shape) == scene(shape)).all()
    alone = made(shape, ASKS[:1], seconds=60, qps=50.0, rng=np.random.default_rng(1)).qps
    assert alone.shape == (60, 1)
    assert (alone >= 0).all()


def test_arrivals_are_as_many_as_the_rates_say_and_in_order() -> None:
    """Within four standard deviations."""
    found = list(
        made("burst", ASKS, seconds=100, qps=80.0, rng=np.random.default_rng(1)).arrivals(np.random.default_rng(2))
    )
    instants = [at for at, _ in found]
    expected = made("burst", ASKS, seconds=100, qps=80.0, rng=np.random.default_rng(1)).qps.sum()

    assert instants == sorted(instants)
    assert abs(len(found) - expected) < 4 * expected**0.5
    assert {kind for _, kind in found} == {0, 1, 2, 3}


def test_steepest_puts_the_jump_in_the_middle() -> None:
    """The larger of two jumps."""
    trace = np.full(3_000, 10.0)
    trace[800:1_000] = 20.0
    trace[2_000:] = 50.0

    assert steepest(trace, 600) + 300 == pytest.approx(2_000, abs=1)


def test_steepest_takes_no_stretch_with_a_hole() -> None:
    """The jump after a hole is none; where all have holes that is an error, and so is a trace that is too short."""
    trace = np.full(3_000, 10.0)
    trace[800:1_000] = 20.0
    trace[1_900:2_000] = 0.0
    trace[2_000:] = 50.0

    begin = steepest(trace, 600)
    assert (trace[begin : begin + 600] > 0).all()
    assert begin + 300 == pytest.approx(800, abs=1)
    with pytest.raises(ValueError, match="without a hole"):
        steepest(np.where(np.arange(3_000) % 100, 10.0, 0.0), 600)
    with pytest.raises(ValueError, match="too short"):
        steepest(trace[:100], 600)


def test_of_trace_keeps_the_trace_or_scales_its_largest_minute() -> None:
    """Classes share it; one alone has all of it."""
    trace = np.concatenate([np.full(100, 5.0), np.full(100, 20.0)])

    assert of_trace(trace, ASKS[:1]).qps[:, 0].tolist() == trace.tolist()
    scaled = of_trace(trace, ASKS, qps=200.0)
    assert scaled.total.max() == pytest.approx(200.0)
    assert scaled.qps[0, 0] == pytest.approx(scaled.total[0] * 2 / 3)
