"""Lanes that are slower than they should be: which are spared, and which query tries one again."""

from __future__ import annotations

import functools
from typing import Any, Literal

import pytest

from agents.fleet import Fleet
from agents.groups import Why
from agents.selection import Chosen, Refused, Selector
from agents.trials import AGAIN_US, TRIAL_EVERY
from streams.contract import OnMiss
from streams.query import Requirements
from tests.agents.builders import MENU, MS, ROUTER, T0, catalog, query, refusal, requirements, selector, telemetry

Policy = Literal["blocks", "round-robin", "random"]
CURVE = ("v", 0.9, 10, 2)  # l(b) = 10 + 2 b ms
ASK = requirements(slo_ms=50)


def router(policy: Policy = "blocks", /, **executors: dict[str, Any]) -> tuple[Selector, Fleet]:
    """Executors by name, with what each says of its lane."""
    fleet = Fleet(router=ROUTER)
    pick = selector(catalog(CURVE), fleet, policy)
    say(fleet, **executors)
    return pick, fleet


def say(fleet: Fleet, at_us: int = T0, /, **executors: dict[str, Any]) -> None:
    for slot, (name, said) in enumerate(executors.items()):
        fleet.heard(telemetry(name, "v", slots=(slot,), received=2**62, **said), now_us=at_us)


def ask(pick: Selector, count: int = 1, *, at_us: int = T0, **asked: Any) -> list[Chosen]:
    """So many queries of one class at one moment; returns those that were sent."""
    of = asked_for(**{"slo_ms": 50, **asked})
    got = [pick.select(query(of, arrived_us=at_us), now_us=at_us) for _ in range(count)]
    return [one for one in got if isinstance(one, Chosen)]


@functools.cache
def asked_for(**asked: Any) -> Requirements:
    """A class is one object, as the reader of queries keeps it."""
    return requirements(**asked)


def apart(fleet: Fleet, *names: str) -> list[str]:
    lanes = [(name, fleet.lane(name, "v")) for name in names]
    return [name for name, lane in lanes if lane is not None and lane.apart]


@pytest.mark.parametrize("policy", ["blocks", "round-robin", "random"])
def test_slow_lane_is_spared_and_serves_what_no_other_can(policy: Policy) -> None:
    """`b` is three times slower: it gets a query only when `a` is busy for longer than the deadline."""
    pick, fleet = router(policy, a={}, b={"drift": 3.0})
    went = {one.executor for one in ask(pick, 3)}

    say(fleet, a={"busy_ms": 60}, b={"drift": 3.0})

    assert went == {"a"}
    assert [(one.executor, one.why) for one in ask(pick)] == [("b", Why.SPREAD)]


def test_slow_lane_is_near_enough_again_below_half_of_the_way() -> None:
    """Spared from 1.10 times the best on, and until it is nearer to it than to that: no swinging in between."""
    pick, fleet = router(a={}, b={"drift": 1.08})
    seen = []
    for drift in (1.08, 1.12, 1.08, 1.06, 1.03, 1.08):
        say(fleet, a={}, b={"drift": drift})
        pick.refresh(now_us=T0)
        seen.append(apart(fleet, "a", "b"))

    assert seen == [[], ["b"], ["b"], ["b"], [], []]


@pytest.mark.parametrize("drifts", [(3.0, 3.0), (1.0,), (16.0,), (3.0, 3.2)])
def test_equally_slow_lanes_are_not_spared(drifts: tuple[float, ...]) -> None:
    """Slow is only who is slower than another of the group: there is always someone left."""
    names: dict[str, dict[str, Any]] = {f"e{n}": {"drift": drift} for n, drift in enumerate(drifts)}
    pick, fleet = router(**names)
    ask(pick, slo_ms=500)

    assert apart(fleet, *names) == []


def test_slow_lane_is_not_spared_when_its_share_is_needed() -> None:
    """At more than 0.8 of what `a` can carry alone, half as slow again is better than nothing."""
    pick, fleet = router(a={}, b={"drift": 1.5})
    seen = []
    for step in range(2_000):
        at_us = T0 + step * 2_380  # 420 queries/s: `a` carries 32 / l(32) = 432
        if step % 40 == 0:
            say(fleet, at_us, a={}, b={"drift": 1.5})
        ask(pick, at_us=at_us, slo_ms=200)
        seen.append(bool(apart(fleet, "b")))

    assert seen[0]
    assert not any(seen[1_000:])


def test_doubted_lane_is_tried_by_one_query_in_a_hundred() -> None:
    """One, and no other until telemetry has told what came of it."""
    pick, fleet = router(a={}, b={"drift": 3.0, "doubt": 1})
    why = []
    for _ in range(3 * TRIAL_EVERY):
        say(fleet, a={}, b={"drift": 3.0, "doubt": 1})
        why += [one.why for one in ask(pick)]

    assert [n for n, one in enumerate(why) if one is Why.TRIED] == [TRIAL_EVERY - 1]


def test_doubted_lane_is_tried_again_after_a_while() -> None:
    """Once the trial must be over and the lane is still in doubt."""
    pick, fleet = router(a={}, b={"drift": 3.0, "doubt": 1})
    gap_us = (3 * 12 * MS + AGAIN_US) // TRIAL_EVERY + 1
    tried = 0
    for step in range(3 * TRIAL_EVERY):
        at_us = T0 + step * gap_us
        say(fleet, at_us, a={}, b={"drift": 3.0, "doubt": 1})
        tried += sum(one.why is Why.TRIED for one in ask(pick, at_us=at_us))

    assert tried == 3


def test_lane_that_looks_well_again_is_tried_at_once() -> None:
    """Its last batch contradicts its drift: two more and it is back, so nobody need wait for a hundred queries."""
    pick, _ = router(a={}, b={"drift": 3.0, "doubt": 2})

    assert [(one.executor, one.why) for one in ask(pick)] == [("b", Why.TRIED)]


@pytest.mark.parametrize(
    "said", [{"busy_ms": 5}, {"queued": 1, "busy_ms": 1}, {"doubt": 0}, {"state": "draining"}, {"slots": ()}]
)
def test_lane_is_not_tried_when_nothing_would_be_learnt(said: dict[str, Any]) -> None:
    """Busy, or sure of itself, or not to be sent to at all."""
    fleet = Fleet(router=ROUTER)
    pick = selector(catalog(CURVE), fleet)
    fleet.heard(telemetry("a", "v"), now_us=T0)
    fleet.heard(telemetry("b", "v", **{"drift": 3.0, "doubt": 2, **said}), now_us=T0)

    assert [one.executor for one in ask(pick)] == ["a"]


def test_lane_is_not_tried_with_what_would_be_late_even_if_it_is_well() -> None:
    """14 ms are left, l(1) is 12 and the reply has 3 of its own."""
    pick, _ = router(a={}, b={"drift": 3.0, "doubt": 2})

    assert ask(pick, slo_ms=14) == []


def test_only_lane_that_is_too_slow_refuses_in_words_and_lets_one_try() -> None:
    """Sure of its drift it refuses; in doubt the first is let through, whom the SLO would allow if it were well."""
    pick, fleet = router(a={"drift": 6.0})
    sure = pick.select(query(ASK), now_us=T0)

    say(fleet, a={"drift": 6.0, "doubt": 1})
    doubted = [pick.select(query(ASK), now_us=T0) for _ in range(2)]

    assert refusal(sure)[0] == "deadline_unreachable"
    assert [type(one) for one in doubted] == [Chosen, Refused]


def test_lane_below_the_floor_is_tried_only_by_who_accepts_it() -> None:
    """The variant is not accurate enough for the class: a query that may be degraded tries it, and says so."""
    pick, _ = router(a={"drift": 6.0, "doubt": 1})
    got = ask(pick, accuracy_min=0.95, on_miss=OnMiss.DEGRADE)

    assert [(one.why, one.missed is not None) for one in got] == [(Why.TRIED, True)]


def test_many_doubted_lanes_are_looked_at_in_turn() -> None:
    """All of a large slow fleet are tried, though each query looks at a few only."""
    names = [f"e{n:02d}" for n in range(40)]
    pick, fleet = router(**{name: {"drift": 6.0, "doubt": 1} for name in names})
    tried = {one.executor for one in ask(pick, 80)}

    assert tried == set(names)
    assert fleet.moved == set()


def test_variant_that_is_not_needed_is_not_tried() -> None:
    """`poor` runs nothing, since `good` is better and in time; that it was slow an hour ago costs nobody an answer."""
    fleet = Fleet(router=ROUTER)
    pick = selector(catalog(*MENU), fleet)
    fleet.heard(telemetry("a", "good"), now_us=T0)
    fleet.heard(telemetry("b", "poor", drift=9.0, doubt=2), now_us=T0)
    fleet.heard(telemetry("c", "fair", drift=1.5, doubt=1), now_us=T0)

    assert {one.offer.variant for one in ask(pick, 3 * TRIAL_EVERY, slo_ms=10_000)} == {"good"}


def test_better_variant_that_is_too_slow_is_tried() -> None:
    """`good` would be preferred to `fair`, were it as quick as its profile says."""
    fleet = Fleet(router=ROUTER)
    pick = selector(catalog(*MENU), fleet)
    fleet.heard(telemetry("a", "good", drift=5.0, doubt=1), now_us=T0)
    fleet.heard(telemetry("b", "fair"), now_us=T0)
    went = [one.offer.variant for one in ask(pick, TRIAL_EVERY)]

    assert went.count("good") == 1
