"""Which of several planners leads, what a stall costs it, and that epochs never go back."""

from __future__ import annotations

from agents.leading import JUMP, SILENCE_S, Leading
from streams.records import PlannerReport


def turns(leading: Leading, until_s: float, *, begin_s: float, other: PlannerReport | None = None) -> bool:
    """Ask it each half second, the other one heard each time; returns the last answer."""
    leads, now_s = False, begin_s
    while now_s <= until_s:
        if other is not None:
            leading.heard(other, now_s=now_s)
        leads = leading.leads(now_s=now_s)
        now_s += 0.5
    return leads


def test_leading_listens_first() -> None:
    """Alone, but it cannot know that before it has listened."""
    leading = Leading("p1")

    assert not turns(leading, SILENCE_S - 0.5, begin_s=0.0)
    assert leading.leads(now_s=SILENCE_S)


def test_leading_the_first_by_name_leads_until_it_is_silent() -> None:
    """`p2` stands by, and takes over with epochs far above what it heard."""
    leading = Leading("p2")

    assert not turns(leading, 20.0, begin_s=0.0, other=PlannerReport(planner="p1", epoch=7, leads=True))
    assert turns(leading, 25.0, begin_s=20.5)
    assert leading.fresh
    assert leading.next_epoch(standing=8) == 8 + JUMP
    leading.gave(8 + JUMP)
    assert leading.next_epoch(standing=8) == 9 + JUMP


def test_leading_who_stood_still_listens_anew() -> None:
    """A suspended leader does not order on in the moment it wakes."""
    leading = Leading("p1")
    assert turns(leading, 5.0, begin_s=0.0)
    leading.gave(1)

    assert not leading.leads(now_s=5.0 + SILENCE_S)
    assert leading.fresh
    leading.heard(PlannerReport(planner="p2", epoch=500, leads=True), now_s=5.0 + SILENCE_S)
    assert turns(leading, 5.0 + 2 * SILENCE_S, begin_s=5.5 + SILENCE_S)
    assert leading.next_epoch(standing=0) == 500 + JUMP


def test_leading_steps_down_for_an_earlier_name() -> None:
    """At once."""
    leading = Leading("p2")
    assert turns(leading, 5.0, begin_s=0.0)
    leading.heard(PlannerReport(planner="p1"), now_s=5.5)
    assert not leading.leads(now_s=5.5)
