"""What is said of one selection: candidates in order, when each would be done, and why not; and that it only looks."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from agents.deciding import CANDIDATES_MAX, decided
from agents.selection import Chosen, Parked, Refused, Selector
from registry.records import Release
from streams.contract import OnMiss, TargetKind
from streams.decisions import Decision, decode_decision, encode_decision
from streams.plans import ClassPlan
from streams.query import Query
from tests.agents.builders import (
    EVERY,
    MENU,
    MS,
    T0,
    add_pool,
    add_variant,
    catalog,
    query,
    requirements,
    router,
    telemetry,
)


def look(selector: Selector, asked: Query, *, now_us: int = T0) -> Decision:
    """Select, and say why; what is said survives the wire."""
    outcome = selector.select(asked, now_us=now_us)
    said = decided(selector, asked, outcome, router="r", reply_topic="results", now_us=now_us)

    assert decode_decision(encode_decision(said)) == said
    return said


def whys(said: Decision) -> dict[str, str]:
    return {each.variant: each.no for each in said.candidates}


def test_decided_idle_fleet_lists_all_in_order_with_finishes() -> None:
    """12, 6 and 2 ms alone, and 3 ms for the reply; the best is taken and the others are less accurate."""
    selector, fleet = router()
    for name in EVERY:
        fleet.heard(telemetry(f"e-{name}", name), now_us=T0)

    said = look(selector, query(requirements(slo_ms=100)))

    assert (said.outcome, said.variant, said.executor, said.why) == ("chosen", "good", "e-good", "opened")
    assert [(each.variant, each.finish_us) for each in said.candidates] == [
        ("good", 15 * MS), ("fair", 9 * MS), ("poor", 5 * MS),
    ]  # fmt: skip
    assert whys(said) == {
        "good": "",
        "fair": "less accurate than the choice (0.99)",
        "poor": "less accurate than the choice (0.99)",
    }
    assert said.klass == "task=t slo=100 acc=0 cost=any prio=5"


def test_decided_tight_slo_says_by_how_much_others_would_be_late() -> None:
    """10 ms: `good` needs 15."""
    selector, fleet = router()
    for name in EVERY:
        fleet.heard(telemetry(f"e-{name}", name), now_us=T0)

    said = look(selector, query(requirements(slo_ms=10)))

    assert said.variant == "fair"
    assert whys(said)["good"] == "would be late by 5.0 ms"


def test_decided_finish_counts_from_the_arrival() -> None:
    """Read 7 ms after it came, it is done 7 ms later; and the deadline counts from the arrival as well."""
    selector, fleet = router()
    fleet.heard(telemetry("e", "good"), now_us=T0)

    said = look(selector, query(requirements(slo_ms=100)), now_us=T0 + 7 * MS)

    assert said.candidates[0].finish_us == 22 * MS
    assert (said.at_us - said.arrived_us, said.deadline_us - said.arrived_us) == (7 * MS, 100 * MS)


def test_decided_floor_and_ceiling_come_before_lanes() -> None:
    """What is barred is said to be, whether it runs or not."""
    selector, fleet = router()
    fleet.heard(telemetry("e", "good", "poor"), now_us=T0)

    floor = look(selector, query(requirements(slo_ms=100, accuracy_min=0.96)))
    ceiling = look(selector, query(requirements(slo_ms=100, cost_max=0.0007)))

    assert whys(floor) == {
        "good": "",
        "fair": "accuracy 0.95 is below the floor of 0.96",
        "poor": "accuracy 0.9 is below the floor of 0.96",
    }
    assert whys(ceiling)["good"] == "$0.0012 for 1,000 queries is above the ceiling of $0.0007"
    assert whys(ceiling)["fair"] == "no lane of it is running"


def test_decided_silent_executor_is_told_from_one_that_is_not_there() -> None:
    """Its ring is cleared only now and then; until then it is not taken, and that is why."""
    selector, fleet = router()
    fleet.heard(telemetry("e", "good"), now_us=T0)
    asked = query(requirements(slo_ms=10_000))
    selector.select(asked, now_us=T0)
    late_us = T0 + fleet.silence_us + 1
    selector.refresh(now_us=late_us - 2)

    said = decided(selector, asked, Parked(0), router="r", reply_topic="results", now_us=late_us)

    assert whys(said)["good"] == "its executors are silent"


def test_decided_refusal_has_its_code_and_message() -> None:
    """The words of the answer, and every candidate's own."""
    selector, fleet = router()
    fleet.heard(telemetry("e", "good"), now_us=T0)

    said = look(selector, query(requirements(slo_ms=5)))

    assert said.outcome == "deadline_unreachable"
    assert said.why == "slo 5 ms < fastest feasible variant 'good': 15.0 ms"
    assert whys(said) == {
        "good": "would be late by 10.0 ms",
        "fair": "no lane of it is running",
        "poor": "no lane of it is running",
    }


def test_decided_unknown_target_has_no_candidates() -> None:
    """Nothing answers it."""
    selector, _ = router()

    said = look(selector, query(requirements("nobody")))

    assert (said.outcome, said.candidates) == ("unknown_target", ())


def test_decided_nothing_running_is_parked_and_says_so() -> None:
    """Priority 0 waits for another reason."""
    selector, fleet = router()

    assert look(selector, query(requirements(slo_ms=100))).why == (
        "nothing that may serve it is running; it waits for that, and is tried again"
    )
    fleet.heard(telemetry("e", "good", queued=64), now_us=T0)
    offline = look(selector, query(requirements(priority=0)))
    assert (offline.outcome, offline.why) == ("parked", "priority 0 waits until a machine would idle")
    assert whys(offline)["good"] == "not idle enough for priority 0"


@pytest.mark.parametrize(
    ("on_miss", "slo_ms", "why"),
    [
        (OnMiss.DEGRADE, 10, "degraded: accuracy-min 0.97, served 0.95"),
        (OnMiss.LATE, 10, "late: slo 10 ms, predicted 15.0 ms"),
    ],
)
def test_decided_on_miss_says_what_was_given_up(on_miss: OnMiss, slo_ms: float, why: str) -> None:
    """The text of the answer's `missed`."""
    selector, fleet = router()
    for name in EVERY:
        fleet.heard(telemetry(f"e-{name}", name), now_us=T0)

    said = look(selector, query(requirements(slo_ms=slo_ms, accuracy_min=0.97, on_miss=on_miss)))

    assert said.why == why


def test_decided_outside_the_plans_share() -> None:
    """A plan that sends all to `fair` leaves the better one out, and says which plan it was."""
    selector, fleet = router()
    for name in EVERY:
        fleet.heard(telemetry(f"e-{name}", name), now_us=T0)
    asked = query(requirements(slo_ms=100))
    klass = "task=t slo=100 acc=0 cost=any prio=5"
    plan = ClassPlan(klass=klass, demand_qps=9.0, unserved_qps=0.0, binding="room", flows=(("fair", "cpu", 9.0),))
    selector.follow([plan], epoch=41, now_us=T0)

    said = look(selector, asked)

    assert (said.variant, said.epoch) == ("fair", 41)
    assert whys(said)["good"] == "outside the plan's share (none of this class)"


def test_decided_share_that_is_used_up_names_its_rate() -> None:
    """Eight queries at once are what a rate of 9/s has saved up."""
    selector, fleet = router()
    for name in EVERY:
        fleet.heard(telemetry(f"e-{name}", name), now_us=T0)
    klass = "task=t slo=1000 acc=0 cost=any prio=5"
    flows = (("good", "cpu", 9.0), ("fair", "cpu", 90.0))
    plan = ClassPlan(klass=klass, demand_qps=99.0, unserved_qps=0.0, binding="room", flows=flows)
    selector.follow([plan], epoch=41, now_us=T0)
    asked = requirements(slo_ms=1_000)

    said = [look(selector, query(asked)) for _ in range(9)]

    assert [each.variant for each in said] == ["good"] * 8 + ["fair"]
    assert whys(said[-1])["good"] == "outside the plan's share (9/s, used up by now)"


def test_decided_equal_accuracy_names_hardware() -> None:
    """The same model on a quicker pool is left to tighter deadlines; a slower twin is slower."""
    made = catalog(("slow", 0.9, 10, 1))
    add_pool(made, "gpu")
    add_variant(made, "quick", accuracy=0.9, fixed_ms=1, item_ms=0.1, pool="gpu")
    add_variant(made, "slower", accuracy=0.9, fixed_ms=30, item_ms=1)
    selector, fleet = router(made)
    fleet.heard(telemetry("e-cpu", "slow", "slower"), now_us=T0)
    fleet.heard(telemetry("e-gpu", "quick", pool="gpu"), now_us=T0)

    said = look(selector, query(requirements(slo_ms=500)))

    assert said.variant == "slow"
    assert whys(said) == {
        "slow": "",
        "slower": "as accurate and slower on the same hardware",
        "quick": "as accurate on quicker hardware, which is left to tighter deadlines",
    }


def test_decided_canary_says_who_drew_what() -> None:
    """Of a model on trial each query has one version, and the other is not for it."""
    made = catalog(*MENU)
    step = made.models["m-good"]
    made.add(msgspec.structs.replace(step, version="2"))
    made.add(Release(model="m-good", number=1, id="a", stable="1", canary="2", share=0.5, unversioned="1"))
    made.add(msgspec.structs.replace(made.variants["good"], name="good2", version="2"))
    made.add(msgspec.structs.replace(made.profiles["good", "cpu"], variant="good2"))
    selector, fleet = router(made)
    fleet.heard(telemetry("e", "good", "good2", cores=2), now_us=T0)
    asked = requirements(slo_ms=500)
    said = [
        look(selector, msgspec.structs.replace(query(asked), query_id=str(n)), now_us=T0 + n * 100 * MS)
        for n in range(8)
    ]

    by = {each.variant: whys(each) for each in said}
    assert by["good"]["good2"] == "a canary, for 50% of the queries; this one drew the stable version"
    assert by["good2"]["good"] == "this query drew the canary of its model"


def test_decided_large_menu_is_cut_and_keeps_the_choice() -> None:
    """A record stays small; how many are left out is said."""
    made = catalog(*((f"v{n:03}", 0.5 + n / 1_000, 100 - n / 10, 1) for n in range(CANDIDATES_MAX + 9)))
    selector, fleet = router(made)
    fleet.heard(telemetry("e", "v000"), now_us=T0)

    said = look(selector, query(requirements(slo_ms=500)))

    assert (len(said.candidates), said.left_out, said.variant) == (CANDIDATES_MAX, 9, "v000")
    assert said.candidates[0].variant == "v000"


@pytest.mark.parametrize("seed", range(6))
def test_decided_changes_nothing_of_what_is_selected_next(seed: int) -> None:
    """Two routers see the same queries and telemetry; one looks at each choice, and both choose alike to the end."""
    rng = np.random.default_rng(seed)
    worlds = [router(), router()]
    asked = [requirements(slo_ms=ms, accuracy_min=acc) for ms in (20, 60, 400) for acc in (0.0, 0.93)]
    asked += [requirements(kind=TargetKind.VARIANT, target="poor"), requirements(slo_ms=8, on_miss=OnMiss.LATE)]
    klass = "task=t slo=68 acc=0 cost=any prio=5"
    now_us, seen = T0, 0
    for n in range(600):
        now_us += int(rng.integers(0, 3 * MS))
        if n % 50 == 0:
            flows = (("fair", "cpu", 50.0), ("good", "cpu", float(n)))
            plan = ClassPlan(klass=klass, demand_qps=9.0, unserved_qps=0.0, binding="room", flows=flows)
            busy = [float(ms) for ms in rng.integers(0, 30, 4)]
            for selector, fleet in worlds:
                selector.follow([plan], epoch=n, now_us=now_us)
                for at, ms in enumerate(busy):
                    mine_alone: dict[str, Any] = {"lanes": 1} if at % 3 == 0 else {}  # a variant with cores of its own
                    said = telemetry(f"e{at}", *EVERY[: at % 3 + 1], busy_ms=ms, received=1 << 60, **mine_alone)
                    fleet.heard(said, now_us=now_us)
        mine = query(asked[int(rng.integers(len(asked)))], arrived_us=now_us)
        got: list[Any] = [selector.select(mine, now_us=now_us) for selector, _ in worlds]
        seen += len(decided(worlds[0][0], mine, got[0], router="r", reply_topic="", now_us=now_us).candidates)

        assert _plain(got[0]) == _plain(got[1])
    assert seen > 600


def _plain(got: Chosen | Refused | Parked) -> object:
    """What of a choice two routers can have in common: sequence numbers and errors are objects of their own."""
    match got:
        case Chosen():
            return got.offer.variant, got.executor, got.predicted_finish_us, got.why, got.seq
        case Refused(error=error):
            return error.code, error.message
        case Parked():
            return got
