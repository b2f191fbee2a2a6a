"""Which constraint holds a class back, read off a finished plan."""

from __future__ import annotations

from typing import Literal

from optimizer.plan import Plan
from optimizer.problem import SHARE_TOLERANCE, Problem

# none: served by the most accurate kind that may. no-lane: no kind keeps its requirements. machines: every pool that
# could serve it has all the machines it may. budget: one more machine would cost more than there is. room: machines
# are fixed and full. price: more accuracy is to be had, and costs more than it is worth.
Binding = Literal["none", "no-lane", "machines", "budget", "room", "price"]


def bindings(plan: Plan, problem: Problem) -> tuple[Binding, ...]:
    """For each class what binds, whether it goes unserved or only less accurate than it could."""
    served: list[dict[int, float]] = [{} for _ in problem.classes]
    for c, j, qps in plan.flows:
        served[c][j] = served[c].get(j, 0.0) + qps
    usd = plan.terms.usd_hour
    total = sum(asked.demand_qps for asked in problem.classes)
    made: list[Binding] = []
    for asked, flows, missed in zip(problem.classes, served, plan.unserved_qps, strict=True):
        if asked.demand_qps <= 0:
            made.append("none")
        elif not asked.kinds:
            made.append("no-lane")
        else:
            best = max(problem.kinds[j].accuracy for j in asked.kinds)
            lacks = missed > SHARE_TOLERANCE * total
            if not lacks and all(problem.kinds[j].accuracy >= best for j in flows):
                made.append("none")
            else:
                pools = {problem.kinds[j].pool for j in asked.kinds if lacks or problem.kinds[j].accuracy >= best}
                made.append(_of(plan, problem, pools, usd=usd, lacks=lacks))
    return tuple(made)


def _of(plan: Plan, problem: Problem, pools: set[int], *, usd: float, lacks: bool) -> Binding:
    if problem.machines_fixed:
        return "room"
    open_pools = [h for h in pools if plan.machines[h] < problem.pools[h].machines_max]
    if not open_pools:
        return "machines"
    budget = problem.budget_usd_hour
    if budget is not None and all(usd + problem.pools[h].usd_hour > budget for h in open_pools):
        return "budget"
    return "room" if lacks else "price"
