"""The pieces by themselves: rows and flows, reduction, evaluation, greedy, hints, serving, eta."""

from __future__ import annotations

import operator

import msgspec
import numpy as np
import pytest

from benchmarks.planner_exact import enumerated, golden, small
from optimizer.assign import assigned, planned
from optimizer.cpsat import unit_flows
from optimizer.decompose import pieces
from optimizer.dive import dive
from optimizer.eta import Eta
from optimizer.evaluate import evaluate, mismatches
from optimizer.explain import bindings
from optimizer.fleets import fleets
from optimizer.greedy import greedy
from optimizer.hall import hall_rows
from optimizer.instance import reduce
from optimizer.linear import LinearModel
from optimizer.problem import LaneKind, Pool, Problem, QueryClass, check, preset, with_machines
from optimizer.serving import form_wait_us
from tests.optimizer.builders import solved


def test_hall_rows_hold_exactly_where_a_flow_exists() -> None:
    """300 random lane counts: all rows hold if and only if the flow leaves nothing unserved."""
    rng = np.random.default_rng(3)
    outcomes = {True: 0, False: 0}
    while sum(outcomes.values()) < 300:
        instance = reduce(small(rng))
        lanes = rng.integers(0, 4, len(instance.original)).tolist()
        for p in range(len(instance.parts)):
            rows, complete = hall_rows(instance, p)
            holds = all(
                sum(c * lanes[j] for j, c in zip(r.kinds, r.coefficients, strict=True)) >= r.demand for r in rows
            )
            _, missed = unit_flows(instance, p, lanes)

            assert complete
            assert holds == (sum(missed) == 0)
            outcomes[holds] += 1

    assert min(outcomes.values()) > 30


def test_reduce_keeps_the_optimum() -> None:
    """A kind that another replaces everywhere goes; a hinted one stays."""
    good = LaneKind(name="good", pool=0, accuracy=0.9, capacity_qps=20, resources=(1,))
    worse = msgspec.structs.replace(good, name="worse", accuracy=0.8)
    asked = QueryClass(name="c", demand_qps=10, kinds=(0, 1))
    pool = Pool(name="p", usd_hour=1, resources=(4,), machines_max=3)
    problem = Problem(pools=(pool,), kinds=(good, worse), classes=(asked,))

    assert reduce(problem).original.tolist() == [0]
    assert reduce(problem, keep=[1]).original.tolist() == [0, 1]
    assert reduce(problem).capacity[0] * reduce(problem).unit_qps == pytest.approx(10)  # not 20: all it can reach


def test_evaluate_broken_plans_are_named() -> None:
    """Each constraint that a plan breaks is said; a wrong account too."""
    problem = golden(1000, 300)
    plan = solved(problem)
    replace = msgspec.structs.replace
    b, c = plan.flows[0], plan.flows[-1]

    assert mismatches(plan, problem) == []
    assert any("machines" in words for words in mismatches(replace(plan, machines=(0, 99, 1)), problem))
    assert any("used" in words for words in mismatches(replace(plan, lanes=(0, 3, 1)), problem))
    assert any("lanes of" in words for words in mismatches(replace(plan, lanes=(0, 1, 1)), problem))
    assert any("served and" in words for words in mismatches(replace(plan, flows=(b,)), problem))
    assert any("may not" in words for words in mismatches(replace(plan, flows=(b, c)), golden(1000, 15)))
    assert any("plan says" in words for words in mismatches(
        replace(plan, terms=replace(plan.terms, usd_hour=21.0)), problem
    ))  # fmt: skip
    assert any("budget" in words for words in mismatches(plan, replace(problem, budget_usd_hour=21.0)))


def test_evaluate_agrees_with_every_plan_of_the_solver() -> None:
    """Terms and constraints, recomputed; also of greedy plans."""
    for seed in range(60, 100):
        problem = small(np.random.default_rng(seed))
        if enumerated(problem) is None:
            continue
        instance = reduce(problem)
        lanes, machines = greedy(instance)
        by_rule = planned(problem, machines, instance.lanes(lanes), status="greedy", method="greedy")

        assert [words for words in mismatches(by_rule, problem) if "warm" not in words] == [], seed


def test_assigned_serves_as_much_as_any_split() -> None:
    """Two classes on two lanes, one of which serves both: nobody is left out who need not be."""
    pool = Pool(name="p", usd_hour=1, resources=(2,), machines_max=1)
    kinds = tuple(
        LaneKind(name=str(j), pool=0, accuracy=accuracy, capacity_qps=10, resources=(1,))
        for j, accuracy in enumerate((0.9, 0.6))
    )
    flexible = QueryClass(name="flexible", demand_qps=10, kinds=(0, 1))
    strict = QueryClass(name="strict", demand_qps=10, kinds=(0,))
    problem = Problem(pools=(pool,), kinds=kinds, classes=(flexible, strict))

    flows, unserved = assigned(problem, [1, 1])

    assert sorted((c, j) for c, j, _ in flows) == [(0, 1), (1, 0)]
    assert max(unserved) == pytest.approx(0, abs=1e-6)


def test_solve_hint_that_is_feasible_is_never_made_worse() -> None:
    """With no time at all the answer is still at least the hint."""
    for seed in range(100, 130):
        problem = small(np.random.default_rng(seed))
        best = solved(problem)
        if best.status == "infeasible":
            continue
        plan = solved(problem, seconds=0.0, hints=(best,))

        assert not best.terms.better_than(plan.terms), seed


def test_solve_no_time_gives_the_greedy_plan() -> None:
    """The rule of thumb is inside every time budget, and says what it is."""
    plan = solved(golden(1000, 300), seconds=0.0)

    assert plan.status == "greedy"
    assert plan.gap is None
    assert plan.terms.unserved < 1e-7


def test_solve_not_all_can_be_served_says_how_little_must_be_left() -> None:
    """Fixed machines that carry 15 of 20 queries/s: 5 stay unserved, proven, and the class learns why."""
    problem = with_machines(golden(20, 300), (3, 0, 0))

    plan = solved(problem)

    assert plan.unserved_qps[0] == pytest.approx(5, abs=1e-4)
    assert plan.unserved_proven
    assert bindings(plan, problem) == ("room",)


def test_solve_budget_below_the_least_fleet_is_infeasible() -> None:
    """Machines that must run and cannot be paid: said, not raised."""
    problem = golden(10, 300)
    pools = tuple(msgspec.structs.replace(pool, machines_min=1) for pool in problem.pools)

    plan = solved(msgspec.structs.replace(problem, pools=pools, budget_usd_hour=5.0))

    assert plan.status == "infeasible"
    assert not evaluate(plan, msgspec.structs.replace(problem, pools=pools, budget_usd_hour=5.0)).feasible


def test_dive_bound_is_below_the_cost_that_it_finds() -> None:
    """The relaxation is a bound, and what was rounded is feasible."""
    instance = reduce(golden(1000, 300), accuracy=False)
    found = dive(LinearModel(instance, flows=False), lambda: 5.0)

    assert found is not None
    assert found.lanes is not None
    assert found.machines is not None
    usd = sum(n * pool.usd_hour for n, pool in zip(found.machines, instance.problem.pools, strict=True))
    assert found.bound <= 22.0 + 1e-6 <= usd + 1e-6


def test_fleets_keep_the_budget_and_carry_the_demand() -> None:
    """Fleets around the relaxation's: none dearer than allowed, none too small, none inside another."""
    problem = preset(golden(1000, 300), "most-accurate-within-budget", budget_usd_hour=25.0)
    found = fleets(LinearModel(reduce(problem), flows=True), lambda: 5.0)
    prices = [pool.usd_hour for pool in problem.pools]

    assert found
    for fleet in found:
        usd = sum(n * price for n, price in zip(fleet, prices, strict=True))
        carried = sum(n * kind.capacity_qps for n, kind in zip(fleet, problem.kinds, strict=True))
        assert usd <= 25.0
        assert carried >= 1000
        assert not any(other != fleet and all(map(operator.ge, other, fleet)) for other in found)


def test_lanes_plan_repairs_what_the_dive_rounds_down() -> None:
    """30 machines that are nearly full: what whole lanes lose against the relaxation is made up for."""
    pool = Pool(name="p", usd_hour=1, resources=(3,), machines_min=30, machines_max=30)
    kinds = tuple(
        LaneKind(name=f"k{j}", pool=0, accuracy=accuracy, capacity_qps=qps, resources=(size,))
        for j, (accuracy, qps, size) in enumerate([(0.9, 10, 3), (0.7, 9, 1), (0.8, 7, 3), (0.6, 8, 1)])
    )
    classes = (
        QueryClass(name="a", demand_qps=137.0, kinds=(0, 1)),
        QueryClass(name="b", demand_qps=151.0, kinds=(2, 3)),
    )
    problem = Problem(pools=(pool,), kinds=kinds, classes=classes)

    plan = solved(problem, seconds=1.0)

    assert plan.terms.unserved < 1e-7
    assert mismatches(plan, problem) == []
    assert plan.gap_accuracy is not None
    assert plan.gap_accuracy < 0.01


def test_pieces_add_up_to_the_whole() -> None:
    """Two tasks on pools of their own are solved apart: same plan, same objective, and a bound of the whole."""
    one = golden(1000, 300)
    kinds = tuple(msgspec.structs.replace(kind, pool=kind.pool + 3, name=kind.name + "2") for kind in one.kinds)
    other = msgspec.structs.replace(one.classes[0], name="other", kinds=(3, 4, 5), demand_qps=10)
    both = msgspec.structs.replace(one, pools=one.pools * 2, kinds=one.kinds + kinds, classes=(*one.classes, other))

    apart = pieces(both)
    plan = solved(both)

    assert [len(piece.classes) for piece in apart] == [1, 1]
    assert plan.machines == (0, 2, 1, 2, 0, 0)
    assert mismatches(plan, both) == []
    assert plan.bound == pytest.approx(plan.terms.objective, abs=1e-6)
    assert len(pieces(msgspec.structs.replace(both, budget_usd_hour=100.0))) == 1


def test_check_names_what_is_wrong() -> None:
    """Values that no plan can be made of are listed, all of them."""
    problem = golden(10, 300)
    bad = msgspec.structs.replace(
        problem, kinds=(msgspec.structs.replace(problem.kinds[0], pool=9, accuracy=2.0, resources=(0,)),)
    )

    assert check(problem) == []
    assert len(check(bad)) >= 4


def test_form_wait_idle_lanes_wait_for_the_batch_and_busy_ones_for_a_lane() -> None:
    """20 ms a batch of 4: at 100/s it takes 40 ms to fill; at 1,000/s five lanes are busy, one free each 4 ms."""
    assert form_wait_us(20_000, batch=4, rate_qps=100, lanes=3) == pytest.approx(40_000)
    assert form_wait_us(20_000, batch=4, rate_qps=1_000, lanes=8) == pytest.approx(4_000)
    assert form_wait_us(20_000, batch=4, rate_qps=1_000, lanes=2) == pytest.approx(10_000)
    assert form_wait_us(20_000, batch=1, rate_qps=10, lanes=1) == 0


def test_eta_learns_from_busy_lanes_and_only_upwards_from_idle_ones() -> None:
    """An idle lane that delivers little says nothing; a busy one says what eta is."""
    start = Eta()
    idle = start.observed(10, nominal_qps=100, busy=0.2, seconds=60)
    better = start.observed(90, nominal_qps=100, busy=0.9, seconds=120)
    worse = start
    for _ in range(20):
        worse = worse.observed(60, nominal_qps=100, busy=1.0, seconds=120)

    assert idle == start
    assert start.value < better.value < 0.9
    assert worse.value == pytest.approx(0.6, abs=0.01)


def test_builders_enumerate_both_outcomes() -> None:
    """The random problems are neither all feasible nor all fully served."""
    terms = [enumerated(small(np.random.default_rng(seed))) for seed in range(200)]

    assert sum(t is None for t in terms) > 0
    assert sum(t is not None and t.unserved > 1e-6 for t in terms) > 5
    assert sum(t is not None and t.unserved <= 1e-6 for t in terms) > 5
