"""Arrival rates: what they say of steady inputs, of changes, and of nonsense."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.rate import RATE_TAU_US, Rate

T0 = 1_700_000_000_000_000


def test_rate_of_nothing_is_zero() -> None:
    """Before the first arrival, and at any moment."""
    assert Rate().per_s(now_us=T0) == 0.0


@pytest.mark.parametrize("clump", [1, 8, 32])
def test_rate_of_steady_arrivals_is_theirs(clump: int) -> None:
    """400/s reads as 400 halfway between clumps of any size that is small beside the window."""
    rate = Rate()
    apart_us = clump * 2_500
    for n in range(3_000_000 // apart_us):
        rate.add(clump, now_us=T0 + n * apart_us)
        last_us = T0 + n * apart_us

    assert rate.per_s(now_us=last_us + apart_us // 2) == pytest.approx(400.0, rel=0.01)


def test_rate_after_a_window_without_arrivals_is_a_part_in_e() -> None:
    """Silence decays it by e in each RATE_TAU_US."""
    rate = Rate()
    rate.add(30, now_us=T0)

    assert rate.per_s(now_us=T0) == pytest.approx(100.0)
    assert rate.per_s(now_us=T0 + RATE_TAU_US) == pytest.approx(100.0 / math.e)


def test_rate_with_the_clock_set_back_waits_for_it() -> None:
    """Wall clocks are stepped: an earlier `now` neither raises nor inflates what is known."""
    rate = Rate()
    rate.add(30, now_us=T0)

    assert rate.per_s(now_us=T0 - 3_600_000_000) == pytest.approx(100.0)


@given(gaps_us=st.lists(st.integers(0, 10 * RATE_TAU_US), min_size=1, max_size=30))
def test_rate_asked_more_often_is_the_same(gaps_us: list[int]) -> None:
    """Reading it in between changes nothing that is read later."""
    asked, silent = Rate(), Rate()
    now_us = T0
    for gap_us in gaps_us:
        asked.per_s(now_us=now_us + gap_us // 2)
        now_us += gap_us
        for rate in (asked, silent):
            rate.add(1, now_us=now_us)

    assert asked.per_s(now_us=now_us) == pytest.approx(silent.per_s(now_us=now_us))
