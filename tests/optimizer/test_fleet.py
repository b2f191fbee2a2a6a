"""The ways that only larger problems take, on the benchmark's catalogue, and kinds from the catalogue."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.planner_cases import Case, lanes_problem, machines_problem, settled
from benchmarks.planner_instances import world
from optimizer.evaluate import mismatches
from optimizer.plan import Plan
from optimizer.problem import PresetName
from optimizer.serving import ETA, Wanted, classes_of, demand_qps
from tests.optimizer.builders import solved

SMALL = Case(size="30x12", preset="cheapest", machines=10, total_qps=15_000.0)


def _plan(name: PresetName, budget_usd_hour: float | None = None) -> Plan:
    problem = machines_problem(msgspec.structs.replace(SMALL, preset=name), 0, budget_usd_hour=budget_usd_hour)
    plan = solved(problem, seconds=2.0)

    assert mismatches(plan, problem) == []
    return plan


def test_presets_order_cost_and_accuracy() -> None:
    """`cheapest` costs least, more is bought by `balanced`, and the budget is kept by `accurate`."""
    cheapest, balanced = _plan("cheapest"), _plan("balanced")
    accurate = _plan("most-accurate-within-budget", cheapest.terms.usd_hour + 3.0)

    assert cheapest.status == "optimal"
    assert cheapest.terms.usd_hour <= balanced.terms.usd_hour
    assert balanced.terms.objective >= 0.05 * (-balanced.terms.money) + cheapest.terms.accuracy - 0.05
    assert accurate.terms.usd_hour <= cheapest.terms.usd_hour + 3.0
    assert accurate.terms.accuracy >= cheapest.terms.accuracy


@pytest.mark.parametrize(("machines", "vector"), [(10, 0), (10, 6), (60, 6)])
def test_lanes_plan_serves_what_resident_lanes_do_not(machines: int, vector: int) -> None:
    """After noise and after a burst: nothing avoidable stays unserved, with CP-SAT and (60 machines) from the dive."""
    now = settled("30x12", machines, 1_000.0 * machines, seconds=1.0)
    problem = lanes_problem(now, vector)

    plan = solved(problem, seconds=1.0)

    assert mismatches(plan, problem) == []
    assert plan.unserved_proven
    assert plan.machines == now.fleet


def test_menu_and_classes_come_from_the_catalogue() -> None:
    """Capacity is eta b / l99(b); a class has the kinds that keep its floor and its deadline, and no others."""
    made = world(variants=30, architectures=8, classes=12)
    lane = made.lanes[0]
    rate = ETA * lane.batch * 1e6 / lane.offer.latency.p99_us[lane.batch]
    strict, loose, dear = (
        Wanted(name="strict", target=lane.offer.task, slo_us=1, demand_qps=1),
        Wanted(name="loose", target=lane.offer.task, accuracy_min=lane.offer.accuracy, demand_qps=1),
        Wanted(name="dear", target=lane.offer.variant, level="variant", cost_max_usd=0.0, demand_qps=1),
    )

    classes = classes_of([strict, loose, dear], made.lanes, reserve_us=3_000)

    assert lane.kind.capacity_qps == pytest.approx(rate)
    assert classes[0].kinds == ()
    assert 0 in classes[1].kinds
    assert all(made.lanes[j].offer.accuracy >= lane.offer.accuracy for j in classes[1].kinds)
    assert classes[2].kinds == ()


def test_demand_adds_the_backlog() -> None:
    """100 queries/s forecast and 600 waiting, to be gone in a minute."""
    assert demand_qps(100.0, 600, drain_s=60.0) == 110.0
