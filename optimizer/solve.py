"""One call: a problem, perhaps the plan that holds now, and a time; the best plan that was found in it."""

from __future__ import annotations

from collections.abc import Sequence

from optimizer.greedy import greedy
from optimizer.instance import reduce
from optimizer.lanes import lanes_plan
from optimizer.machines import machines_plan
from optimizer.plan import Plan
from optimizer.problem import Problem, check
from optimizer.search import Clock, Search


def solve(problem: Problem, *, budget_s: float, clock: Clock, hints: Sequence[Plan] = ()) -> Plan:
    """The best plan within about `budget_s`, never worse than a hint that is still feasible.

    Machines that are fixed make it a lanes plan, anything else a machines plan.
    Returns: a plan whose status says what it is; `infeasible` where no plan keeps every bound.
    Raises:  AssertionError on values that `check` complains about.
    """
    wrong = check(problem)
    assert not wrong, wrong
    return searched(problem, budget_s=budget_s, clock=clock, hints=hints).result()


def searched(problem: Problem, *, budget_s: float, clock: Clock, hints: Sequence[Plan] = ()) -> Search:
    """The search itself, for who wants to see what was refused on the way."""
    search = Search(problem, clock=clock, budget_s=budget_s)
    resident = [kind.resident for kind in problem.kinds]
    now = [pool.machines_min for pool in problem.pools]
    if any(resident) and problem.machines_fixed:
        search.offer(resident, now, method="hint")
    for hint in hints:
        search.offer(hint.lanes, now if problem.machines_fixed else hint.machines, method="hint")
    keep = {j for j, lanes in enumerate(resident) if lanes > 0 and problem.machines_fixed}
    keep |= {j for hint in hints for j, lanes in enumerate(hint.lanes) if lanes > 0}
    instance = reduce(problem, keep=keep, accuracy=problem.weights.alpha > 0)
    lanes, machines = greedy(instance)
    search.offer_counts(instance, lanes, machines, "greedy")
    if not instance.parts and not problem.warm:
        return search
    if problem.machines_fixed:
        start = search.best.lanes if search.best is not None else instance.lanes(lanes)
        lanes_plan(search, instance, instance.counts(start))
    else:
        machines_plan(search, instance)
    return search
