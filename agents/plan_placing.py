"""A plan whose lanes all stand somewhere: solved, placed on executors, and solved again with less room if need be.

A solver counts what a pool has in sum; lanes are whole, and so are executors. What found no place serves nobody, so the
flows are made anew over the lanes that did. Pure but for the clock that bounds the solver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from optimizer.assign import planned
from optimizer.placement import Placement, confined, place, tightened
from optimizer.plan import Plan
from optimizer.problem import SHARE_TOLERANCE, Problem
from optimizer.solve import solve
from streams.plans import Host

PLACE_S = 0.2  # of the time, for the exact placement of one pool
ROUNDS_MAX = 3
FIRST_SHARE = 0.7  # of the time, for the first solve; most plans need no other
CONFINED_MAX = 16  # sets of executors with failures that the solver is told of; placement knows them all


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """The best plan of `rounds` solves. `plan` has lanes with a place alone; `hosts`, `homeless` as in a proposal."""

    plan: Plan
    hosts: dict[str, dict[str, int]]
    homeless: dict[str, int]
    rounds: int


def placed_plan(
    problem: Problem, hosts: Sequence[Sequence[Host]], *, budget_s: float, clock: Callable[[], float]
) -> Placed:
    """The lanes plan that serves most once it is placed; at most ROUNDS_MAX solves, within `budget_s` together.

    Shapes: `hosts` by pool, as many as the pool has machines.
    """
    begun_s = clock()
    deadline_s = begun_s + budget_s
    tight, best = limited(problem, hosts), None
    for n in range(1, ROUNDS_MAX + 1):
        left_s = deadline_s - clock()
        if best is not None and left_s <= 0:
            break
        plan = _solved(tight, left_s * (FIRST_SHARE if best is None else 0.5), clock)
        made = [_place(problem, h, plan, mine, deadline_s - clock()) for h, mine in enumerate(hosts)]
        found = _found(problem, plan, made, hosts, rounds=n)
        if best is None or _better(found.plan, best.plan, problem):
            best = found
        best = msgspec.structs.replace(best, rounds=n)
        if not found.homeless:
            break
        for h, placement in enumerate(made):
            tight = tightened(tight, h, placement) if placement.homeless else tight
    assert best is not None
    return msgspec.structs.replace(best, plan=msgspec.structs.replace(best.plan, wall_s=clock() - begun_s))


def limited(problem: Problem, hosts: Sequence[Sequence[Host]]) -> Problem:
    """The same problem where variants that failed on some executors have room on the others only."""
    count = 0
    for h, mine in enumerate(hosts):
        failed: dict[tuple[str, ...], set[str]] = {}
        for variant in sorted({name for host in mine for name in host.failed}):
            where = tuple(host.name for host in mine if variant in host.failed)
            failed.setdefault(where, set()).add(variant)
        for where, variants in sorted(failed.items()):
            kinds = {j for j, kind in enumerate(problem.kinds) if kind.pool == h and kind.variant in variants}
            if kinds and count < CONFINED_MAX:
                count += 1
                problem = confined(problem, h, kinds, free=len(mine) - len(where), machines=len(mine))
    return problem


def _solved(problem: Problem, budget_s: float, clock: Callable[[], float]) -> Plan:
    plan = solve(problem, budget_s=budget_s, clock=clock)
    if plan.status == "infeasible" and problem.warm:  # no room for every task: those that are asked for come first
        plan = solve(msgspec.structs.replace(problem, warm=()), budget_s=budget_s, clock=clock)
    return plan


def _place(problem: Problem, h: int, plan: Plan, mine: Sequence[Host], left_s: float) -> Placement:
    """One pool's lanes; kinds of one variant are one lane, which runs what batch it must: the first stands for all."""
    lead = _lead(problem, h, plan)
    counts = [0] * len(problem.kinds)
    for j, kind in enumerate(problem.kinds):
        if kind.pool == h and plan.lanes[j]:
            counts[lead[kind.variant]] += plan.lanes[j]
    now = [{lead[v]: n for v, n in host.held.items() if v in lead} for host in mine]
    barred = [{lead[v] for v in host.failed if v in lead} for host in mine]
    return place(problem, h, counts, now, seconds=max(0.0, min(PLACE_S, left_s)), barred=barred)


def _lead(problem: Problem, h: int, plan: Plan) -> dict[str, int]:
    lead: dict[str, int] = {}
    for j, kind in enumerate(problem.kinds):
        if kind.pool == h and plan.lanes[j]:
            lead.setdefault(kind.variant, j)
    return lead


def _found(
    problem: Problem, plan: Plan, made: Sequence[Placement], hosts: Sequence[Sequence[Host]], *, rounds: int
) -> Placed:
    homeless = {j: n for placement in made for j, n in placement.homeless.items()}
    if homeless or rounds > 1:  # a bound is of the problem that was solved, and a proof too
        lanes = _without(problem, plan, homeless)
        plan = planned(
            problem, plan.machines, lanes, method=plan.method,
            status="feasible" if plan.status == "optimal" else plan.status,
        )  # fmt: skip
    placed = {
        host.name: {problem.kinds[j].variant: n for j, n in sorted(kinds.items())}
        for mine, placement in zip(hosts, made, strict=True)
        for host, kinds in zip(mine, placement.machines, strict=True)
    }
    return Placed(
        plan=plan, hosts=placed, homeless={problem.kinds[j].name: n for j, n in homeless.items()}, rounds=rounds
    )  # fmt: skip


def _without(problem: Problem, plan: Plan, homeless: dict[int, int]) -> list[int]:
    """The plan's lanes less those without a place; of a variant's kinds, the idlest lanes go first."""
    lanes, flow = list(plan.lanes), [0.0] * len(plan.lanes)
    for _, j, qps in plan.flows:
        flow[j] += qps
    for lead, count in homeless.items():
        at = problem.kinds[lead].variant, problem.kinds[lead].pool
        kinds = [j for j, kind in enumerate(problem.kinds) if (kind.variant, kind.pool) == at]
        for _ in range(count):
            idlest = max(
                (j for j in kinds if lanes[j]), key=lambda j: (lanes[j] * problem.kinds[j].capacity_qps - flow[j], -j)
            )  # fmt: skip
            lanes[idlest] -= 1
    return lanes


def _better(plan: Plan, other: Plan, problem: Problem) -> bool:
    """Less unserved, then fewer tasks that are to be warm and are not, then the objective."""
    if abs(plan.terms.unserved - other.terms.unserved) <= SHARE_TOLERANCE:
        mine, theirs = _cold(plan, problem), _cold(other, problem)
        if mine != theirs:
            return mine < theirs
    return plan.terms.better_than(other.terms)


def _cold(plan: Plan, problem: Problem) -> int:
    return sum(not any(plan.lanes[j] for j in group) for group in problem.warm)
