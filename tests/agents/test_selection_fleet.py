"""Selection as the fleet and the catalogue change: parking, silence, new variants, offline work, repeats."""

from __future__ import annotations

from agents.groups import Why
from agents.selection import REFRESH_US, Chosen, Parked, Refused
from streams.clock import NEVER
from streams.contract import TargetKind
from streams.query import Query
from tests.agents.builders import (
    EVERY,
    MENU,
    MS,
    T0,
    add_variant,
    catalog,
    query,
    requirements,
    router,
    served,
    telemetry,
)


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


def test_select_smaller_batches_after_a_new_profile() -> None:
    """A variant registered anew with a shorter curve: what was planned for the longer one is not asked of it."""
    made = catalog(*MENU)
    pick, fleet = router(made)
    fleet.heard(telemetry("e", "good", queued=20, busy_ms=1), now_us=T0)
    asked = query(requirements(slo_ms=500))
    pick.select(asked, now_us=T0)
    add_variant(made, "good", accuracy=0.99, fixed_ms=10, item_ms=2, batch_max=4)

    got = pick.select(asked, now_us=T0)

    assert isinstance(got, Chosen)
    assert got.predicted_finish_us == T0 + (1 + 5 * 18 + 18 + 3) * MS  # 21 ahead: five batches of 4, then one more
