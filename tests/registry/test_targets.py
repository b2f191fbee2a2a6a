"""Batch targets against the formula written out, and on the curves of the field notes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.latency import LatencyProfile
from registry.targets import batch_need, batch_target

GPU = LatencyProfile.linear(fixed_us=5_109, per_item_us=1_080, batch_max=64)

curves = st.builds(
    lambda fixed, per, top: LatencyProfile.linear(fixed_us=fixed, per_item_us=per, batch_max=top),
    st.integers(1, 200_000),
    st.integers(1, 50_000),
    st.integers(1, 40),
)
rates = st.floats(0.001, 20_000)


@pytest.mark.parametrize(("lanes", "target"), [(1, 7), (4, 15), (16, 18)])
def test_batch_target_of_the_studied_gpu_is_the_studied_batch(lanes: int, target: int) -> None:
    """At 30 ms and a rate that keeps every lane busy, N = 1, 4 and 16 give the batches of the field notes."""
    got = batch_target(GPU, slo_us=30_000, rate_qps=20_000, lanes=lanes, reserve_us=2_000)

    assert abs(got - target) <= 1  # the notes plan with 1.05 l(b) and measured rates


def test_batch_target_without_arrivals_is_one() -> None:
    """Nothing else will come, so nothing is worth waiting for."""
    assert batch_target(GPU, slo_us=30_000, rate_qps=0.0, lanes=4, reserve_us=2_000) == 1


def test_batch_target_of_a_hopeless_slo_is_one() -> None:
    """An SLO below l(1) still names a batch: whether to run at all is for the window drop."""
    assert batch_target(GPU, slo_us=1_000, rate_qps=500.0, lanes=1, reserve_us=2_000) == 1


@given(curves, st.integers(0, 2_000_000), rates, st.integers(1, 32), st.integers(0, 10_000))
def test_batch_target_equals_the_formula(
    curve: LatencyProfile, slo_us: int, rate: float, lanes: int, reserve_us: int
) -> None:
    """The largest b with l(b)(1 + 1/min(n, N)) <= SLO - reserve if n > 1, else l(b) + b/r <= SLO - reserve."""

    def largest(rounding_s: float) -> int:
        def fits(b: int) -> bool:
            run_s = curve.p99_us[b] / 1e6
            n = rate * run_s / b
            needed_s = run_s * (1 + 1 / min(n, lanes)) if n > 1 else run_s + b / rate
            return needed_s <= (slo_us - reserve_us) / 1e6 + rounding_s

        return max((b for b in range(1, curve.batch_max + 1) if fits(b)), default=1)

    got = batch_target(curve, slo_us=slo_us, rate_qps=rate, lanes=lanes, reserve_us=reserve_us)

    assert largest(-1e-9) <= got <= largest(1e-9)


@given(curves, rates, st.integers(1, 32), st.floats(0.05, 1.0))
def test_batch_need_is_the_first_that_keeps_up(
    curve: LatencyProfile, rate: float, lanes: int, utilisation: float
) -> None:
    """No smaller batch carries the rate; the returned one does, unless none can."""

    def load(b: int) -> float:
        return rate * curve.p99_us[b] / 1e6 / b / lanes

    need = batch_need(curve, rate_qps=rate, lanes=lanes, utilisation=utilisation)

    assert all(load(b) > utilisation * (1 - 1e-9) for b in range(1, need))
    assert load(need) <= utilisation * (1 + 1e-9) or need == curve.batch_max
