"""What is chosen for one query, and what is said when nothing can be."""

from __future__ import annotations

import msgspec
import pytest

from agents.fleet import Fleet
from agents.groups import Why
from agents.selection import REFRESH_US, Chosen, Parked, Refused, Selector
from registry.catalog import Catalog
from registry.records import Profile
from streams.clock import NEVER
from streams.contract import OnMiss, TargetKind
from streams.query import Query
from tests.agents.builders import (
    MS,
    ROUTER,
    T0,
    add_pool,
    add_variant,
    catalog,
    query,
    requirements,
    selector,
    telemetry,
)

# l(1) is 12 ms for `good`, 6 ms for `fair`, 2 ms for `poor`.
MENU = (("good", 0.99, 10, 2), ("fair", 0.95, 5, 1), ("poor", 0.90, 1.5, 0.5))
EVERY = ("good", "fair", "poor")


def router(made: Catalog | None = None) -> tuple[Selector, Fleet]:
    fleet = Fleet(router=ROUTER)
    return selector(made or catalog(*MENU), fleet), fleet


def served(got: Chosen | Refused | Parked) -> str:
    assert isinstance(got, Chosen), got
    return got.offer.variant


def refusal(got: Chosen | Refused | Parked) -> tuple[str, str]:
    assert isinstance(got, Refused), got
    return got.error.code, got.error.message


def test_select_idle_fleet_gives_the_best_accuracy() -> None:
    """Time for anything: the most accurate variant, on the executor's lowest slot, with all that a dispatch needs."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY, slots=(4, 2)), now_us=T0)

    got = pick.select(query(requirements(slo_ms=100)), now_us=T0)

    assert isinstance(got, Chosen)
    assert got.offer.variant == "good"
    assert msgspec.structs.replace(got, offer=got.offer) == Chosen(
        got.offer, "e", 2, T0 + 1, T0 + 15 * MS, T0 + 100 * MS, Why.OPENED, False, None
    )


@pytest.mark.parametrize(("slo_ms", "variant"), [(15, "good"), (14.9, "fair"), (9, "fair"), (8.9, "poor"), (5, "poor")])
def test_select_tighter_slo_gives_the_best_that_fits(slo_ms: float, variant: str) -> None:
    """l(1) and the reply reserve of 3 ms have to fit, to the microsecond."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    assert served(pick.select(query(requirements(slo_ms=slo_ms)), now_us=T0)) == variant


def test_select_busy_executor_spills_to_the_next_variant() -> None:
    """With 4 ms of work ahead, 12 ms no longer fit into 18 - 3, but 6 ms do."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY, busy_ms=4), now_us=T0)

    assert served(pick.select(query(requirements(slo_ms=18)), now_us=T0)) == "fair"


def test_select_accuracy_floor_is_kept_by_an_idle_one_elsewhere() -> None:
    """The busy executor is passed over for one that can do it in time."""
    pick, fleet = router()
    fleet.heard(telemetry("a", *EVERY, busy_ms=50), now_us=T0)
    fleet.heard(telemetry("b", *EVERY, slots=(1,)), now_us=T0)

    got = pick.select(query(requirements(slo_ms=20, accuracy_min=0.99)), now_us=T0)

    assert isinstance(got, Chosen)
    assert (got.offer.variant, got.executor) == ("good", "b")


def test_select_slowest_hardware_that_fits() -> None:
    """Equal accuracy: the slow pool, unless the deadline needs the fast one."""
    made = catalog(("v", 0.9, 10, 2))
    add_pool(made, "gpu", hardware="gpu")
    fast = made.profiles["v", "cpu"]
    points = tuple(msgspec.structs.replace(p, p50_us=p.p50_us // 4, p99_us=p.p99_us // 4) for p in fast.points)
    made.add(Profile(variant="v", pool="gpu", machine="test", points=points))
    pick, fleet = router(made)
    fleet.heard(telemetry("slow", "v"), now_us=T0)
    fleet.heard(telemetry("fast", "v", pool="gpu"), now_us=T0)

    pools = []
    for slo_ms in (100, 10):
        got = pick.select(query(requirements(slo_ms=slo_ms)), now_us=T0)
        assert isinstance(got, Chosen)
        pools.append(got.offer.pool)
    assert pools == ["cpu", "gpu"]


@pytest.mark.parametrize(
    ("kind", "target", "variant"),
    [(TargetKind.TASK, "t", "good"), (TargetKind.MODEL, "m-fair", "fair"), (TargetKind.VARIANT, "poor", "poor")],
)
def test_select_three_levels_of_asking(kind: TargetKind, target: str, variant: str) -> None:
    """Task, model and variant each narrow the menu."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    assert served(pick.select(query(requirements(target, kind=kind, slo_ms=100)), now_us=T0)) == variant


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


def test_select_cost_ceiling_is_kept() -> None:
    """6 ms are 6e-4: `good` is too dear, `fair` is not."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    assert served(pick.select(query(requirements(cost_max=0.001)), now_us=T0)) == "fair"


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


def test_select_best_effort_waits_for_the_best() -> None:
    """No deadline at all: the most accurate, however busy."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY, busy_ms=5_000), now_us=T0)

    got = pick.select(query(requirements()), now_us=T0)

    assert isinstance(got, Chosen)
    assert (got.offer.variant, got.deadline_us) == ("good", NEVER)


def test_select_expires_at_beyond_the_slo_counts() -> None:
    """An explicit deadline replaces `slo-ms`: what the SLO alone would rule out may answer."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    got = pick.select(query(requirements(slo_ms=5), deadline_us=T0 + 50 * MS), now_us=T0)

    assert served(got) == "good"


def test_select_no_executor_for_what_is_registered_parks() -> None:
    """Registered, but nothing runs it: to be kept until the deadline, and sent when the fleet changes."""
    pick, fleet = router()
    asked = query(requirements(slo_ms=500))

    before = pick.select(asked, now_us=T0)
    fleet.heard(telemetry("e", "fair"), now_us=T0 + MS)

    assert before == Parked(T0 + 500 * MS)
    assert served(pick.select(asked, now_us=T0 + MS)) == "fair"


def test_select_best_effort_parks_without_end() -> None:
    """The shell bounds it."""
    pick, _ = router()

    assert pick.select(query(requirements()), now_us=T0) == Parked(NEVER)


def test_select_task_without_variants_parks() -> None:
    """A task whose models are still on their way is not unknown."""
    pick, _ = router(catalog())

    assert isinstance(pick.select(query(requirements(slo_ms=100)), now_us=T0), Parked)


def test_select_silent_executor_gets_nothing() -> None:
    """From one second of silence on, also between two refreshes of the rings."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)
    at = [T0 + 900 * MS, T0 + 1_001 * MS, T0 + 1_001 * MS + REFRESH_US]

    got = [pick.select(query(requirements(slo_ms=100), arrived_us=us), now_us=us) for us in at]

    assert [type(one) for one in got] == [Chosen, Parked, Parked]


def test_select_new_registration_is_seen_at_once() -> None:
    """The menu follows the catalogue's version."""
    made = catalog(*MENU)
    pick, fleet = router(made)
    fleet.heard(telemetry("e", *EVERY), now_us=T0)
    asked = requirements("extra", kind=TargetKind.VARIANT)
    before = pick.select(query(asked), now_us=T0)
    add_variant(made, "extra", accuracy=0.5, fixed_ms=1, item_ms=1)

    after = pick.select(query(asked), now_us=T0)
    fleet.heard(telemetry("e", *EVERY, "extra"), now_us=T0)

    assert (type(before), type(after)) == (Refused, Parked)
    assert served(pick.select(query(asked), now_us=T0)) == "extra"


def test_select_offline_goes_where_it_is_idle_else_parks() -> None:
    """Priority 0 waits while something else waits on the executor, and fills no more than a batch of its own."""
    pick, fleet = router(catalog(("v", 0.9, 10, 2), ("w", 0.8, 10, 2)))
    fleet.heard(telemetry("e", "w", "v", busy_ms=40, queued=1), now_us=T0)
    asked = requirements("v", kind=TargetKind.VARIANT, priority=0)

    behind = pick.select(query(asked), now_us=T0)
    fleet.heard(telemetry("e", "w", "v", busy_ms=40), now_us=T0)
    free = [pick.select(query(asked), now_us=T0) for _ in range(33)]

    assert behind == Parked(NEVER)
    assert [type(one) for one in free] == [Chosen] * 32 + [Parked]


def test_select_repeated_id_goes_where_it_went() -> None:
    """The executor that may still hold the answer, if it serves the class; else as any other query."""
    pick, fleet = router()
    for name in ("a", "b", "c"):
        fleet.heard(telemetry(name, "good"), now_us=T0)
    asked = query(requirements(slo_ms=100))

    got = [pick.select(asked, now_us=T0, prefer=name) for name in ("b", "b", "gone")]

    assert [(one.executor, one.why) for one in got if isinstance(one, Chosen)] == [
        ("b", Why.REPEATED),
        ("b", Why.REPEATED),
        ("a", Why.OPENED),
    ]


def test_select_classes_are_kept_by_identity() -> None:
    """A requirements object that is gone cannot lend its identity to another: the cache keeps it alive."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    def ask(variant: str) -> Query:
        return query(requirements(variant, kind=TargetKind.VARIANT))

    assert [served(pick.select(ask(name), now_us=T0)) for name in EVERY * 50] == [*EVERY * 50]
