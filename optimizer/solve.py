"""One call: a problem, perhaps the plan that holds now, and a time; the best plan that was found in it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from optimizer.assign import planned
from optimizer.decompose import Piece, pieces
from optimizer.greedy import greedy
from optimizer.instance import reduce
from optimizer.lanes import lanes_plan
from optimizer.machines import machines_plan
from optimizer.plan import Plan, Status
from optimizer.problem import Problem, check
from optimizer.search import Clock, Search


def solve(problem: Problem, *, budget_s: float, clock: Clock, hints: Sequence[Plan] = ()) -> Plan:
    """The best plan within about `budget_s`, never worse than a hint that is still feasible.

    Machines that are fixed make it a lanes plan, anything else a machines plan. One thread.
    Units:   `clock` gives seconds, monotonic.
    Returns: a plan whose status says what it is; `infeasible` where no plan keeps every bound.
    Raises:  AssertionError on values that `check` complains about.
    """
    wrong = check(problem)
    assert not wrong, wrong
    apart = pieces(problem)
    if len(apart) == 1:
        return searched(problem, budget_s=budget_s, clock=clock, hints=hints).result()
    return _joined(problem, apart, budget_s=budget_s, clock=clock, hints=hints)


def searched(problem: Problem, *, budget_s: float, clock: Clock, hints: Sequence[Plan] = ()) -> Search:
    """The search itself, in one piece, for who wants to see what was refused on the way."""
    search = Search(problem, clock=clock, budget_s=budget_s)
    resident = [kind.resident for kind in problem.kinds]
    now = [pool.machines_min for pool in problem.pools]
    if any(resident) and problem.machines_fixed:
        search.offer(resident, now, method="hint")
    for hint in hints:
        search.offer(hint.lanes, now if problem.machines_fixed else hint.machines, method="hint")
    keep = {j for j, lanes in enumerate(resident) if lanes > 0 and problem.machines_fixed}
    keep |= {j for hint in hints for j, lanes in enumerate(hint.lanes) if lanes > 0}
    kept = search.best
    instance = reduce(problem, keep=keep, accuracy=problem.weights.alpha > 0)
    lanes, machines = greedy(instance)
    search.offer_counts(instance, lanes, machines, "greedy")
    if not instance.parts and not problem.warm:  # nothing is asked: as few machines as may be
        if search.best is not None:
            search.bounded(search.best.terms.objective)
        return search
    if problem.machines_fixed:
        # Not the greedy plan: it serves as much with lanes that all have to be loaded.
        lanes_plan(search, instance, instance.counts(kept.lanes) if kept is not None else lanes)
    else:
        machines_plan(search, instance)
    return search


def _joined(problem: Problem, apart: list[Piece], *, budget_s: float, clock: Clock, hints: Sequence[Plan]) -> Plan:
    """Each piece by itself, its share of the time by its lane kinds; what is left over goes on to the next."""
    begun_s = clock()
    search = Search(problem, clock=clock, budget_s=budget_s)
    for hint in hints:
        search.offer(hint.lanes, hint.machines, method="hint")
    lanes, machines = [0] * len(problem.kinds), [0] * len(problem.pools)
    plans: list[Plan] = []
    todo = sum(1 + len(piece.kinds) for piece in apart)
    for piece in apart:
        share_s = search.left_s() * (1 + len(piece.kinds)) / todo
        todo -= 1 + len(piece.kinds)
        inside = [_cut(piece, hint) for hint in hints]
        plan = searched(piece.problem, budget_s=share_s, clock=clock, hints=inside).result()
        plans.append(plan)
        for j, count in zip(piece.kinds, plan.lanes, strict=True):
            lanes[j] = count
        for h, count in zip(piece.pools, plan.machines, strict=True):
            machines[h] = count
    words: list[Status] = [plan.status for plan in plans]
    status: Status = words[0] if len(set(words)) == 1 else "infeasible" if "infeasible" in words else "feasible"
    whole = planned(problem, machines, lanes, status=status, method=plans[0].method)
    if search.best is not None and search.best.terms.better_than(whole.terms):
        whole = search.best
    return msgspec.structs.replace(
        whole, bound=_sum([plan.bound for plan in plans]), gap_usd_hour=_sum([plan.gap_usd_hour for plan in plans]),
        wall_s=clock() - begun_s, unserved_proven=all(plan.unserved_proven for plan in plans),
    )  # fmt: skip


def _cut(piece: Piece, hint: Plan) -> Plan:
    lanes = [hint.lanes[j] for j in piece.kinds]
    machines = [hint.machines[h] for h in piece.pools]
    return planned(piece.problem, machines, lanes, status="hint", method="hint")


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
