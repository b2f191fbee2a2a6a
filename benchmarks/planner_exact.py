"""Problems whose optimum is known by looking at every plan.

INFaaS's three illustrative variants, random small problems, and InfAdapter's allocations of cores to five ResNets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from optimizer.assign import planned
from optimizer.plan import Terms
from optimizer.problem import LaneKind, Pool, Problem, QueryClass, Weights
from simulator.baselines.infadapter import Curve, allocations, objective

# ms, queries/s, cost in INFaaS's unit (half an m5.2xlarge), and the price in $ an hour that it was rounded from
GOLDEN = (("a", 200.0, 5.0, 1.0, 0.192), ("b", 20.0, 100.0, 3.0, 0.584), ("c", 15.0, 800.0, 16.0, 3.06))
CORES = 20
LOADS = tuple(range(5, 386, 5))
BETAS = (0.0125, 0.05, 0.2)
# InfAdapter's fit at an SLO of 750 ms, the most accurate first
RESNETS = {
    "resnet152": Curve(accuracy=0.78312, slope=3.815, intercept=-2, load_s=8.52),
    "resnet101": Curve(accuracy=0.77374, slope=5.090, intercept=0, load_s=7.77),
    "resnet50": Curve(accuracy=0.7613, slope=10.321, intercept=-3, load_s=6.82),
    "resnet34": Curve(accuracy=0.73314, slope=13.044, intercept=-1, load_s=6.79),
    "resnet18": Curve(accuracy=0.69758, slope=24.446, intercept=-6, load_s=6.44),
}


def best_allocation(load: float, beta: float) -> float:
    """InfAdapter's best objective over all of its allocations; changes cost nothing."""
    return float(
        objective(allocations(len(RESNETS), CORES), load, list(RESNETS.values()), budget=CORES, beta=beta).max()
    )


def infadapter(load: float, beta: float) -> Problem:
    """The same as a planning problem: cores are machines, and an allocation is a lane kind of its width.

    Several lanes of one ResNet are allowed and never better than a wider one, as no intercept is positive. Changes are
    free: InfAdapter charges the longest load, the planner the sum of loads.
    """
    pool = Pool(name="core", usd_hour=1.0, resources=(1,), machines_max=CORES)
    kinds = tuple(
        LaneKind(name=f"{name}/{n}", pool=0, accuracy=curve.accuracy, capacity_qps=curve.capacity(n), resources=(n,))
        for name, curve in RESNETS.items()
        for n in range(2, CORES + 1)
        if curve.capacity(n) > 0
    )
    asked = QueryClass(name="load", demand_qps=float(load), kinds=tuple(range(len(kinds))))
    return Problem(
        pools=(pool,), kinds=kinds, classes=(asked,), weights=Weights(alpha=1.0, beta=beta, gamma=0.0), usd_ref=CORES
    )


def golden(load_qps: float, slo_ms: float, *, real: bool = False) -> Problem:
    """INFaaS's illustrative variants, each on a machine of its own, with its unit costs or the `real` prices."""
    pools = tuple(
        Pool(name=name, usd_hour=usd if real else cost, resources=(1,), machines_max=40)
        for name, _, _, cost, usd in GOLDEN
    )
    kinds = tuple(
        LaneKind(name=name, pool=h, accuracy=0.8, capacity_qps=qps, resources=(1,))
        for h, (name, _, qps, _, _) in enumerate(GOLDEN)
    )
    fast = tuple(j for j, (_, ms, _, _, _) in enumerate(GOLDEN) if ms <= slo_ms)
    asked = QueryClass(name="all", demand_qps=load_qps, kinds=fast)
    return Problem(pools=pools, kinds=kinds, classes=(asked,), weights=Weights(alpha=0.0, beta=1.0))


def small(rng: np.random.Generator) -> Problem:
    """A problem of at most 2 pools, 4 lane kinds and 3 classes that can be enumerated.

    Accuracies are whole thousandths, demands and capacities whole: exact in the solvers' units.
    """
    pools = tuple(
        Pool(
            name=f"p{h}", usd_hour=int(rng.integers(1, 9)) / 4, resources=(int(rng.integers(2, 5)), 8),
            machines_min=int(rng.integers(0, 2)), machines_max=int(rng.integers(1, 3)),
        )
        for h in range(int(rng.integers(1, 3)))
    )  # fmt: skip
    kinds = tuple(
        LaneKind(
            name=f"k{j}", pool=int(rng.integers(len(pools))), accuracy=int(rng.integers(500, 1000)) / 1000,
            capacity_qps=float(rng.integers(1, 20)), resources=(int(rng.integers(1, 3)), int(rng.integers(0, 5))),
            load_us=int(rng.integers(0, 5)) * 1_000_000, resident=int(rng.integers(0, 2)),
        )
        for j in range(int(rng.integers(1, 5)))
    )  # fmt: skip
    classes = tuple(
        QueryClass(
            name=f"c{c}", demand_qps=float(rng.integers(0, 25)), weight=float(rng.choice([1.0, 1.0, 2.0])),
            kinds=tuple(j for j in range(len(kinds)) if rng.random() < 0.6),
        )
        for c in range(int(rng.integers(1, 4)))
    )  # fmt: skip
    alpha, beta = [(0.0, 1.0), (1.0, 0.05), (1.0, 0.5), (1.0, 0.0)][int(rng.integers(4))]
    gamma = float(rng.choice([0.0, 0.01])) if alpha > 0 else 0.0
    budget = float(rng.integers(0, 12)) / 2 if rng.random() < 0.4 else None
    floor = sum(pool.usd_hour * pool.machines_min for pool in pools)
    warm = ((int(rng.integers(len(kinds))),),) if rng.random() < 0.3 else ()
    return Problem(
        pools=pools, kinds=kinds, classes=classes, resources=("cores", "memory"), warm=warm,
        weights=Weights(alpha=alpha, beta=beta, gamma=gamma, big=3.0),
        budget_usd_hour=None if budget is None else max(budget, floor),
    )  # fmt: skip


def enumerated(problem: Problem) -> Terms | None:
    """The best plan's terms by looking at all of them; None where there is none."""
    best: Terms | None = None
    for machines, lanes in _plans(problem):
        terms = planned(problem, machines, lanes, status="feasible", method="greedy").terms
        if best is None or terms.better_than(best):
            best = terms
    return best


def _plans(problem: Problem) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every feasible count, lanes beyond all demand left out."""
    sizes = [range(pool.machines_min, pool.machines_max + 1) for pool in problem.pools]
    budget = problem.budget_usd_hour
    total = sum(asked.demand_qps for asked in problem.classes)
    for machines in itertools.product(*sizes):
        usd = sum(pool.usd_hour * n for pool, n in zip(problem.pools, machines, strict=True))
        if budget is not None and usd > budget + 1e-9:
            continue
        most = []
        for kind in problem.kinds:
            room = problem.pools[kind.pool].resources
            fits = min(r * machines[kind.pool] // need for r, need in zip(room, kind.resources, strict=True) if need)
            most.append(range(min(fits, max(1, int(-(-total // kind.capacity_qps)))) + 1))
        for lanes in itertools.product(*most):
            if _fits(problem, machines, lanes):
                yield machines, lanes


def _fits(problem: Problem, machines: tuple[int, ...], lanes: tuple[int, ...]) -> bool:
    if any(not any(lanes[j] for j in group) for group in problem.warm):
        return False
    for h, pool in enumerate(problem.pools):
        for k, room in enumerate(pool.resources):
            pairs = zip(problem.kinds, lanes, strict=True)
            if sum(kind.resources[k] * x for kind, x in pairs if kind.pool == h) > room * machines[h]:
                return False
    return True
