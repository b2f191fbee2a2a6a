"""The optimum by enumeration, by INFaaS's table and by InfAdapter's allocations: the solver must find the same."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest

from benchmarks.planner_exact import best_allocation, enumerated, golden, infadapter, small
from optimizer.evaluate import mismatches
from optimizer.problem import preset
from simulator.baselines.infadapter import allocations
from tests.optimizer.builders import solved


@pytest.mark.parametrize(
    ("load_qps", "slo_ms", "plan", "cost"),
    [(10, 300, (2, 0, 0), 2.0), (10, 50, (0, 1, 0), 3.0), (1000, 300, (0, 2, 1), 22.0)],
)
@pytest.mark.parametrize("real", [False, True])
def test_solve_golden_table_finds_the_unique_optimum(
    load_qps: float, slo_ms: float, plan: tuple[int, ...], cost: float, real: bool
) -> None:
    """INFaaS's three examples, with its unit costs and with real prices."""
    found = solved(golden(load_qps, slo_ms, real=real))

    assert found.machines == plan
    assert found.lanes == plan
    assert found.status == "optimal"
    assert real or found.terms.usd_hour == cost


@pytest.mark.parametrize("block", range(6))
def test_solve_small_problem_equals_enumeration(block: int) -> None:
    """60 random problems of up to 2 pools, 4 lane kinds and 3 classes; all 500 are in `headrace bench planner`."""
    for seed in range(block * 10, block * 10 + 10):
        problem = small(np.random.default_rng(seed))
        wanted = enumerated(problem)
        plan = solved(problem)

        if wanted is None:
            assert plan.status == "infeasible", seed
            continue
        assert mismatches(plan, problem) == [], seed
        assert plan.terms.unserved == pytest.approx(wanted.unserved, abs=1e-6), seed
        assert plan.terms.objective == pytest.approx(wanted.objective, abs=1e-5), seed


@pytest.mark.parametrize("beta", [0.0125, 0.05, 0.2])
@pytest.mark.parametrize("load", [5, 95, 190, 285, 385])
def test_solve_infadapter_problem_equals_enumeration(load: int, beta: float) -> None:
    """20 cores over five ResNets: the best of all 20,529 allocations."""
    wanted = best_allocation(load, beta)

    plan = solved(infadapter(load, beta))

    assert plan.terms.unserved < 1e-7
    assert plan.terms.objective == pytest.approx(wanted, abs=1e-6)


def test_allocations_are_as_many_as_published() -> None:
    """B = 20: 20,529 allocations of at most 20 cores, none of one core."""
    assert len(allocations(5, 20)) == 20_529


def test_solve_more_demand_never_costs_less() -> None:
    """`cheapest`: the cost of the least fleet grows with the demand."""
    costs = [solved(golden(load, 300)).terms.usd_hour for load in (1, 7, 10, 55, 200, 430, 1000)]

    assert costs == sorted(costs)


def test_solve_larger_budget_never_worse() -> None:
    """What fits a budget fits a larger one."""
    rng = np.random.default_rng(5)
    for _ in range(4):
        problem = msgspec.structs.replace(small(rng), warm=())
        floor = sum(pool.usd_hour * pool.machines_min for pool in problem.pools)
        found = [
            solved(preset(problem, "most-accurate-within-budget", budget_usd_hour=floor + more)).terms
            for more in (0.0, 1.0, 2.0, 4.0)
        ]

        for less, more in itertools.pairwise(found):
            assert not less.better_than(more, tolerance=1e-5)


def test_solve_class_without_demand_changes_nothing() -> None:
    """A class that only adds slack leaves the optimum as it was."""
    problem = golden(1000, 300)
    idle = msgspec.structs.replace(problem.classes[0], name="idle", demand_qps=0.0, kinds=(0,))

    with_idle = msgspec.structs.replace(problem, classes=(*problem.classes, idle))

    assert solved(with_idle).lanes == solved(problem).lanes
