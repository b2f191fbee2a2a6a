"""What is said, or done instead, when the requirements cannot be met."""

from __future__ import annotations

import msgspec
import pytest

from agents.fleet import Fleet
from agents.groups import Why
from agents.selection import Chosen
from registry.records import Accuracy
from streams.contract import AccuracyBound, OnMiss, TargetKind
from streams.query import Query
from tests.agents.builders import (
    EVERY,
    MENU,
    MS,
    ROUTER,
    T0,
    add_variant,
    catalog,
    query,
    refusal,
    requirements,
    router,
    selector,
    served,
    telemetry,
)


@pytest.mark.parametrize("kind", list(TargetKind))
def test_select_unknown_target_is_refused(kind: TargetKind) -> None:
    """A name that nobody registered is the client's mistake."""
    pick, _ = router()

    got = pick.select(query(requirements("nope", kind=kind)), now_us=T0)

    assert refusal(got) == ("unknown_target", f"{kind} 'nope' is not registered")


def test_select_content_type_that_the_task_does_not_accept_is_refused() -> None:
    """The list of what it accepts is in the message."""
    pick, _ = router()

    got = pick.select(query(requirements(content_type="image/png")), now_us=T0)

    assert refusal(got) == (
        "unsupported_content_type",
        "content-type 'image/png' is not one that 't' accepts: application/json, application/x-npy",
    )


def test_select_accuracy_beyond_every_variant_is_refused_with_the_best() -> None:
    """Value and limit are named."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    got = pick.select(query(requirements(accuracy_min=0.995)), now_us=T0)

    assert refusal(got) == ("accuracy_unreachable", "accuracy-min 0.995 > best variant 'good': 0.99")


def test_select_cost_below_every_variant_is_refused_with_the_cheapest() -> None:
    """The cheapest that is accurate enough: 0.36 USD an hour are 1e-7 a millisecond, 12 ms are 1.2e-3 per 1,000."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    got = pick.select(query(requirements(accuracy_min=0.97, cost_max=0.001)), now_us=T0)

    assert refusal(got) == (
        "cost_unreachable",
        "cost-max 0.001 USD per 1,000 < cheapest variant with accuracy 0.97 or more, 'good': 0.0012 USD",
    )


def test_select_slo_below_the_fastest_is_refused() -> None:
    """Even an idle machine cannot: the SLO is at fault, not the load."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    got = pick.select(query(requirements(slo_ms=4.5)), now_us=T0)

    assert refusal(got) == ("deadline_unreachable", "slo 4.5 ms < fastest feasible variant 'poor': 5.0 ms")


def test_select_too_little_time_left_is_not_the_slos_fault() -> None:
    """The SLO would do, but the query came here late."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    got = pick.select(query(requirements(slo_ms=30)), now_us=T0 + 26 * MS)

    assert refusal(got) == ("would_be_late", "4.0 ms left < fastest feasible variant 'poor': 5.0 ms")


def test_select_deadline_in_the_past_is_expired() -> None:
    """Nothing is sent for nobody."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    got = pick.select(query(requirements(slo_ms=30)), now_us=T0 + 31 * MS)

    assert refusal(got) == ("deadline_passed", "the deadline passed 1.0 ms before routing")


def test_select_load_on_fresh_telemetry_is_overloaded() -> None:
    """Only load prevents it, and that is known for sure."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY, busy_ms=90), now_us=T0)

    got = pick.select(query(requirements(slo_ms=30)), now_us=T0)

    assert refusal(got) == ("overloaded", "30.0 ms left < 95.0 ms on the least busy, 'poor'")


def test_select_load_on_old_telemetry_is_left_to_the_executor() -> None:
    """What was busy 150 ms ago may be free: it goes to the one that would finish first."""
    pick, fleet = router()
    fleet.heard(telemetry("a", *EVERY, busy_ms=300), now_us=T0)
    fleet.heard(telemetry("b", *EVERY, busy_ms=250, slots=(1,)), now_us=T0)
    now_us = T0 + 150 * MS

    got = pick.select(query(requirements(slo_ms=30), arrived_us=now_us), now_us=now_us)

    assert isinstance(got, Chosen)
    assert (got.why, got.executor, got.offer.variant) == (Why.LEAST, "b", "poor")


def test_select_a_little_late_by_prediction_is_sent() -> None:
    """Within 5 ms the prediction proves nothing."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY, busy_ms=28), now_us=T0)

    got = pick.select(query(requirements(slo_ms=30)), now_us=T0)

    assert isinstance(got, Chosen)
    assert got.why is Why.LEAST


def test_select_degrade_below_the_floor_says_so() -> None:
    """0.995 is not to be had: the best that meets the deadline answers, and is named."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    got = pick.select(query(requirements(slo_ms=10, accuracy_min=0.995, on_miss=OnMiss.DEGRADE)), now_us=T0)

    assert isinstance(got, Chosen)
    assert (got.offer.variant, got.why, got.missed) == ("fair", Why.DEGRADED, "accuracy-min 0.995, served 0.95")


def test_select_degrade_keeps_the_floor_while_it_can() -> None:
    """Permission to degrade is not a wish."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    got = pick.select(query(requirements(slo_ms=100, accuracy_min=0.99, on_miss=OnMiss.DEGRADE)), now_us=T0)

    assert isinstance(got, Chosen)
    assert (got.offer.variant, got.missed) == ("good", None)


def test_select_degrade_under_load_takes_the_faster() -> None:
    """The floor's variant would be late behind 4 ms of work; the next below is not."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY, busy_ms=4), now_us=T0)

    got = pick.select(query(requirements(slo_ms=18, accuracy_min=0.99, on_miss=OnMiss.DEGRADE)), now_us=T0)

    assert isinstance(got, Chosen)
    assert (got.offer.variant, got.missed) == ("fair", "accuracy-min 0.99, served 0.95")


def test_select_degrade_does_not_give_up_cost() -> None:
    """Only accuracy is given up: under the ceiling of 4e-4, `poor` is all there is."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)
    asked = requirements(slo_ms=100, accuracy_min=0.99, cost_max=0.0004, on_miss=OnMiss.DEGRADE)

    got = pick.select(query(asked), now_us=T0)

    assert isinstance(got, Chosen)
    assert (got.offer.variant, got.missed) == ("poor", "accuracy-min 0.99, served 0.9")


def test_select_late_answers_after_the_deadline_and_says_so() -> None:
    """The best accuracy, whatever it takes; the executor is told not to drop it."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY, busy_ms=90), now_us=T0)

    got = pick.select(query(requirements(slo_ms=30, on_miss=OnMiss.LATE)), now_us=T0)

    assert isinstance(got, Chosen)
    assert (got.offer.variant, got.why, got.late_ok) == ("good", Why.LATE, True)
    assert (got.missed, got.deadline_us) == ("slo 30 ms, predicted 105.0 ms", T0 + 30 * MS)


def test_select_late_does_not_give_up_accuracy() -> None:
    """`late` is about time only."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    got = pick.select(query(requirements(slo_ms=30, accuracy_min=0.995, on_miss=OnMiss.LATE)), now_us=T0)

    assert refusal(got)[0] == "accuracy_unreachable"


def test_select_without_deadline_takes_the_tasks_default() -> None:
    """The default counts from the arrival, and stands in the dispatch."""
    pick, fleet = router(catalog(*MENU, slo_ms_default=40))
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    got = pick.select(query(requirements(), arrived_us=T0 - 30 * MS), now_us=T0)

    assert isinstance(got, Chosen)
    assert (got.offer.variant, got.deadline_us) == ("fair", T0 + 10 * MS)


def test_select_floor_against_the_lower_end_takes_no_unsure_variant() -> None:
    """`accuracy-bound: lower`: .96 of 100 items is not surely .95, .955 of 10,000 is nearly; without a count: never."""
    made = catalog()
    for name, value, n in (("few", 0.96, 100), ("many", 0.955, 10_000), ("said", 0.99, 0)):
        add_variant(made, name, accuracy=value, fixed_ms=1, item_ms=1)
        model = made.models[f"m-{name}"]
        made.add(msgspec.structs.replace(model, accuracy=Accuracy(value=value, provenance="measured", n=n)))
    fleet = Fleet(router=ROUTER)
    pick = selector(made, fleet)
    fleet.heard(telemetry("e1", "few", "many", "said"), now_us=T0)

    def ask(floor: float, on_miss: OnMiss = OnMiss.REJECT, bound: AccuracyBound = AccuracyBound.LOWER) -> Query:
        asked = requirements(accuracy_min=floor, on_miss=on_miss)
        return query(msgspec.structs.replace(asked, accuracy_bound=bound))

    assert served(pick.select(ask(0.95, bound=AccuracyBound.VALUE), now_us=T0)) == "said"
    assert served(pick.select(ask(0.95), now_us=T0)) == "many"
    assert refusal(pick.select(ask(0.96), now_us=T0)) == (
        "accuracy_unreachable", "accuracy-min 0.96 > best variant 'many': 0.955, 0.9508 at the lower end",
    )  # fmt: skip
    degraded = pick.select(ask(0.96, OnMiss.DEGRADE), now_us=T0)
    assert isinstance(degraded, Chosen)
    assert degraded.missed == "accuracy-min 0.96, served 0.99 (sure of 0)"
