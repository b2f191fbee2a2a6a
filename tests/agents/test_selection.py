"""Which variant and executor are chosen for one query."""

from __future__ import annotations

import msgspec
import pytest

from agents.groups import Why
from agents.selection import Chosen
from registry.records import Profile
from streams.clock import NEVER
from streams.contract import TargetKind
from tests.agents.builders import (
    EVERY,
    MS,
    T0,
    add_pool,
    catalog,
    query,
    requirements,
    router,
    served,
    telemetry,
)


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


def test_select_cost_ceiling_is_kept() -> None:
    """6 ms are 6e-4: `good` is too dear, `fair` is not."""
    pick, fleet = router()
    fleet.heard(telemetry("e", *EVERY), now_us=T0)

    assert served(pick.select(query(requirements(cost_max=0.001)), now_us=T0)) == "fair"


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
