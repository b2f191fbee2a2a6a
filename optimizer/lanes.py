"""The lanes plan: machines are what they are; which lanes run on them, within fractions of a second.

Two steps, since one model with one large price leaves avoidable demand unserved at a deadline. First the least
unserved, with the fewest loads, under Hall rows and without flows. Then, at that, the most accuracy for the change.
"""

from __future__ import annotations

from collections.abc import Sequence

from optimizer.cpsat import CountModel, objective_of, units_unserved
from optimizer.instance import Instance
from optimizer.linear import LinearModel
from optimizer.relax import dived, scip
from optimizer.search import Search

TIGHT = 25  # machines: from here on the relaxation is nearly tight, and diving beats CP-SAT at a second
TURN, TURN_MIN_S = 0.6, 0.12  # share of the time of the solver whose turn is first; less than that is no turn
FIRST_SHARE = 0.7  # of the time, at most, that the first step may take where the second is worth something


def lanes_plan(search: Search, instance: Instance, start: Sequence[int]) -> None:
    """Improve on `start` (lanes by position) for the machines of the problem, until the deadline."""
    machines = [pool.machines_min for pool in instance.problem.pools]
    lanes, least = list(start), units_unserved(instance, start)
    if least > 0:
        model = CountModel(instance, flows=False, unserved=True)
        model.minimise_unserved()
        found = model.solve(search.left_s() * FIRST_SHARE, lanes=lanes, machines=machines)
        if found is not None:
            search.offer_counts(instance, found.lanes, machines, "cp-sat")
            reached = units_unserved(instance, found.lanes)
            search.unserved_proven = found.proven
            if reached <= least:
                lanes, least = found.lanes, reached
        best = search.best
        if best is not None and (other := units_unserved(instance, instance.counts(best.lanes))) < least:
            lanes, least = instance.counts(best.lanes), other
    if instance.problem.weights.alpha == 0 and instance.problem.weights.gamma == 0:
        return
    if least > 0:
        improve(search, instance, lanes, machines, least)
        return
    flows = instance.problem.weights.alpha > 0
    if sum(machines) >= TIGHT:
        relaxed = dived(search, instance, flows=flows)
        if relaxed is not None:
            scip(search, relaxed, search.left_s() * TURN)
        if not search.closed and search.left_s() > TURN_MIN_S:
            best = search.best
            improve(search, instance, instance.counts(best.lanes) if best is not None else lanes, machines, 0)
        return
    improve(search, instance, lanes, machines, 0, share=TURN)
    if not search.closed and search.left_s() > TURN_MIN_S:
        scip(search, LinearModel(instance, flows=flows), search.left_s())


def improve(
    search: Search, instance: Instance, lanes: Sequence[int], machines: Sequence[int], least: int, *, share: float = 1.0
) -> None:
    """Maximise the problem's objective at no more than `least` weighted units unserved, from a start."""
    if search.left_s() <= 0:
        return
    model = CountModel(instance, flows=instance.problem.weights.alpha > 0, unserved=least > 0)
    if least > 0:
        model.unserved_at_most(least)
    model.minimise()
    left_s = search.left_s() * share
    if left_s <= 0:
        return
    found = model.solve(left_s, lanes=lanes, machines=machines)
    if found is None:
        return
    search.bounded(objective_of(instance, found.bound))
    search.offer_counts(instance, found.lanes, found.machines, "cp-sat")
