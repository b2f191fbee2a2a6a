"""The curve of one machine: the profile's, corrected by what was measured of a few sizes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.correction import corrected
from registry.latency import LatencyProfile

CURVE = [0, 10, 20, 30, 40, 50, 60, 70, 80]


def test_corrected_by_drift_alone_scales_each_size() -> None:
    """Index 0 stays no batch."""
    assert corrected(CURVE, 1.5) == [0, 15, 30, 45, 60, 75, 90, 105, 120]


def test_corrected_sizes_borrow_from_their_neighbours() -> None:
    """2 takes twice as long and 6 as long as it should: 1 is as 2, 4 is halfway, 8 is as 6."""
    assert corrected(CURVE, 1.0, ((2, 2.0), (6, 1.0))) == [0, 20, 40, 52, 60, 62, 62, 70, 80]


def test_corrected_profile_keeps_its_medians_by_size() -> None:
    """Knots are of the 99th percentile."""
    made = LatencyProfile.linear(fixed_us=0, per_item_us=10, batch_max=2).corrected(2.0, ((1, 3.0),))

    assert (made.batch_max, made.p50_us, made.p99_us) == (2, [0, 20, 40], [0, 60, 120])


ratios = st.floats(0.1, 20)


@given(
    st.lists(st.integers(1, 10**7), min_size=1, max_size=64), ratios,
    st.dictionaries(st.integers(1, 80), ratios, max_size=8),
)  # fmt: skip
def test_corrected_larger_batches_are_never_quicker(steps_us: list[int], drift: float, at: dict[int, float]) -> None:
    """Whatever was measured, so that searches for the largest batch that fits hold."""
    curve = [0]
    for us in steps_us:
        curve.append(curve[-1] + us)

    made = corrected(curve, drift, sorted(at.items()))

    assert len(made) == len(curve)
    assert made == sorted(made)
