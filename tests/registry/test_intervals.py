"""Wilson's interval, against published values and its own definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.intervals import Z_95, sure, wilson
from registry.records import Accuracy


def test_wilson_known_values() -> None:
    """81 of 263 and 0 of 20: Newcombe 1998, table I, method 3."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_ends_are_where_the_score_test_is_at_its_limit(case: tuple[int, int]) -> None:
    """At each end p: |share - p| = z sqrt(p (1 - p) / n); and the share lies between."""
    right, n = case
    low, high = wilson(right, n)

    assert low <= right / n <= high
    for end in (low, high):
        assert abs(right / n - end) == pytest.approx(Z_95 * math.sqrt(end * (1 - end) / n), abs=1e-9)


def test_sure_takes_the_stated_end_then_the_count_then_nothing() -> None:
    """A figure without a count is not sure at all."""
    assert sure(Accuracy(value=0.9, provenance="measured", n=100, low=0.85, high=0.94)) == 0.85
    assert sure(Accuracy(value=0.9, provenance="published", n=100)) == pytest.approx(wilson(90, 100)[0])
    assert sure(Accuracy(value=0.9, provenance="published")) == 0.0
