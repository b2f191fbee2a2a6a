"""A plan recomputed from the problem alone, term by term and constraint by constraint.

It shares no line with what builds and solves the models (no arrays, no rounding, no reduction), so that each can find
the other's errors. Slow and plain on purpose.
"""

from __future__ import annotations

import msgspec

from optimizer.plan import Plan, Terms
from optimizer.problem import Problem

TOLERANCE = 1e-6


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """`broken`: each constraint that does not hold, in words; empty when the plan is feasible."""

    terms: Terms
    broken: tuple[str, ...]

    @property
    def feasible(self) -> bool:
        return not self.broken


def evaluate(plan: Plan, problem: Problem) -> Evaluation:
    """Recompute everything that `plan` claims.

    Raises: AssertionError where the plan has not one number for each pool, lane kind and class.
    """
    assert len(plan.machines) == len(problem.pools), "machines are not by pool"
    assert len(plan.lanes) == len(problem.kinds), "lanes are not by kind"
    assert len(plan.unserved_qps) == len(problem.classes), "unserved is not by class"
    broken = [*_machines(plan, problem), *_room(plan, problem), *_flows(plan, problem), *_warm(plan, problem)]
    return Evaluation(terms=_terms(plan, problem), broken=tuple(broken))


def mismatches(plan: Plan, problem: Problem) -> list[str]:
    """Where the plan's own account and this one differ by more than 1e-6, and constraints that it breaks."""
    found = evaluate(plan, problem)
    told = msgspec.structs.asdict(plan.terms)
    scale = {"usd_hour": max(1.0, found.terms.usd_hour)}
    return [
        *found.broken,
        *(
            f"{name}: the plan says {told[name]!r}, it is {value!r}"
            for name, value in msgspec.structs.asdict(found.terms).items()
            if abs(told[name] - value) > TOLERANCE * scale.get(name, 1.0)
        ),
    ]


def _terms(plan: Plan, problem: Problem) -> Terms:
    weighted = gained = missed = 0.0
    for asked in problem.classes:
        weighted += asked.weight * asked.demand_qps
    for c, j, qps in plan.flows:
        gained += problem.classes[c].weight * qps * problem.kinds[j].accuracy
    for asked, qps in zip(problem.classes, plan.unserved_qps, strict=True):
        missed += asked.weight * qps
    usd = 0.0
    for pool, machines in zip(problem.pools, plan.machines, strict=True):
        usd += pool.usd_hour * machines
    loads = 0.0
    for kind, lanes in zip(problem.kinds, plan.lanes, strict=True):
        if lanes > kind.resident:
            loads += kind.load_us * (lanes - kind.resident)
    accuracy = gained / weighted if weighted > 0 else 0.0
    unserved = missed / weighted if weighted > 0 else 0.0
    money, change = usd / problem.money_ref, loads / problem.change_ref
    prices = problem.weights
    objective = prices.alpha * accuracy - prices.beta * money - prices.gamma * change - prices.big * unserved
    return Terms(
        accuracy=accuracy, money=money, change=change, unserved=unserved, usd_hour=usd, objective=objective
    )  # fmt: skip


def _machines(plan: Plan, problem: Problem) -> list[str]:
    broken = [
        f"pool {pool.name}: {n} machines, allowed are {pool.machines_min} to {pool.machines_max}"
        for pool, n in zip(problem.pools, plan.machines, strict=True)
        if not pool.machines_min <= n <= pool.machines_max
    ]
    usd = sum(pool.usd_hour * n for pool, n in zip(problem.pools, plan.machines, strict=True))
    budget = problem.budget_usd_hour
    if budget is not None and usd > budget * (1 + TOLERANCE) + TOLERANCE:
        broken.append(f"${usd:.4f} an hour, the budget is ${budget:.4f}")
    return broken


def _room(plan: Plan, problem: Problem) -> list[str]:
    broken = [f"{kind.name}: {x} lanes" for kind, x in zip(problem.kinds, plan.lanes, strict=True) if x < 0]
    for h, pool in enumerate(problem.pools):
        for k, name in enumerate(problem.resources):
            used = 0
            for kind, lanes in zip(problem.kinds, plan.lanes, strict=True):
                if kind.pool == h:
                    used += kind.resources[k] * lanes
            room = pool.resources[k] * plan.machines[h]
            if used > room:
                broken.append(f"pool {pool.name}: {used} {name} used, there are {room}")
    return broken


def _flows(plan: Plan, problem: Problem) -> list[str]:
    broken = []
    served = [0.0] * len(problem.classes)
    load = [0.0] * len(problem.kinds)
    for c, j, qps in plan.flows:
        if j not in problem.classes[c].kinds:
            broken.append(f"class {problem.classes[c].name} may not be served by {problem.kinds[j].name}")
        if qps < 0:
            broken.append(f"class {problem.classes[c].name}: {qps} queries/s to {problem.kinds[j].name}")
        served[c] += qps
        load[j] += qps
    for asked, got, missed in zip(problem.classes, served, plan.unserved_qps, strict=True):
        if missed < 0 or abs(got + missed - asked.demand_qps) > TOLERANCE * max(1.0, asked.demand_qps):
            broken.append(f"class {asked.name}: {got} served and {missed} not, of {asked.demand_qps}")
    for kind, lanes, qps in zip(problem.kinds, plan.lanes, load, strict=True):
        if qps > kind.capacity_qps * lanes * (1 + TOLERANCE):
            broken.append(f"{kind.name}: {qps} queries/s on {lanes} lanes of {kind.capacity_qps}")
    return broken


def _warm(plan: Plan, problem: Problem) -> list[str]:
    return [
        f"no lane is warm of {', '.join(problem.kinds[j].name for j in group)}"
        for group in problem.warm
        if not any(plan.lanes[j] > 0 for j in group)
    ]
