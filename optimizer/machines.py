"""The machines plan: how many machines, and which lanes, by what each preset and size is best solved with.

Each starts with the dive, whose relaxation is a bound. `cheapest` goes on with SCIP on Hall rows, and buys accuracy on
the machines found with what time is left; `balanced` with SCIP on Hall rows and flows. The most accurate plan within a
budget is a lanes plan on the fleet that the relaxation likes best, then CP-SAT. Large fleets end with the dive, for the
relaxation is nearly tight there. Where not all demand can be served, CP-SAT finds the least that must stay unserved
first.
"""

from __future__ import annotations

import msgspec

from optimizer.cpsat import CountModel, units_unserved
from optimizer.fleets import fleets
from optimizer.instance import Instance, reduce
from optimizer.lanes import improve
from optimizer.linear import LinearModel
from optimizer.problem import Weights, with_machines
from optimizer.relax import dived, scip
from optimizer.search import Search

LARGE = 150  # machines: above it a model with flows takes longer to build and start than `cheapest` has left
TIGHT_GAP = 0.002  # of the dollars: large fleets are dived this close in some 50 ms, and nothing is gained by more
FLEETS = 3  # tried for the most accurate plan
LAST_SHARE = 0.35  # of the time that is kept for the best of them
SCIP_SHARE = 0.5  # of what the dive leaves, on a fleet that is chosen
COST_SHARE = 0.85  # of the time that `cheapest` spends on money; the rest buys accuracy on the same machines


def machines_plan(search: Search, instance: Instance) -> None:
    """Improve on what the search has, until the deadline."""
    prices = instance.problem.weights
    start, start_machines = _start(search, instance)
    least = units_unserved(instance, start)
    if least > 0:
        start, start_machines, least = _least_unserved(search, instance, start, start_machines)
    if prices.alpha == 0:
        _cheapest(search, instance, start, start_machines, least)
    elif prices.beta == 0:
        _accurate(search, instance, start, start_machines, least)
    else:
        _balanced(search, instance, start, start_machines, least)


def _start(search: Search, instance: Instance) -> tuple[list[int], list[int]]:
    best = search.best
    if best is None:
        return [0] * len(instance.original), [pool.machines_min for pool in instance.problem.pools]
    return instance.counts(best.lanes), list(best.machines)


def _better_start(
    search: Search, instance: Instance, start: list[int], machines: list[int]
) -> tuple[list[int], list[int]]:
    """The best plan so far as a start, if its kinds are all in the instance."""
    best = search.best
    if best is None or any(x > 0 and j not in instance.position for j, x in enumerate(best.lanes)):
        return start, machines
    return instance.counts(best.lanes), list(best.machines)


def _least_unserved(
    search: Search, instance: Instance, start: list[int], machines: list[int]
) -> tuple[list[int], list[int], int]:
    """As little unserved as the bounds allow; where nothing must be, this ends at once."""
    model = CountModel(instance, flows=False, unserved=True)
    model.minimise_unserved()
    found = model.solve(search.left_s() * 0.4, lanes=start, machines=machines)
    if found is None:
        return start, machines, units_unserved(instance, start)
    search.offer_counts(instance, found.lanes, found.machines, "cp-sat")
    search.unserved_proven = found.proven
    before, after = units_unserved(instance, start), units_unserved(instance, found.lanes)
    return (found.lanes, found.machines, after) if after <= before else (start, machines, before)


def _cheapest(search: Search, instance: Instance, start: list[int], machines: list[int], least: int) -> None:
    if least == 0:
        model = dived(search, instance, flows=False)
        if model is not None and search.gap > TIGHT_GAP:
            scip(search, model, search.left_s() * COST_SHARE)
    else:
        improve(search, instance, start, machines, least)
    accurate_at_cost(search)


def accurate_at_cost(search: Search) -> None:
    """The same machines, with the most accurate lanes that they can hold: a tie-break of `cheapest`."""
    best = search.best
    if best is None or not search.serves_all or search.left_s() <= 0 or sum(best.machines) > LARGE:
        return
    fixed = with_machines(search.problem, best.machines)
    fixed = msgspec.structs.replace(fixed, weights=Weights(alpha=1.0, beta=0.0, gamma=0.0))
    instance = reduce(fixed, keep=[j for j, x in enumerate(best.lanes) if x > 0])
    inner = Search(fixed, clock=search.clock, budget_s=search.left_s())
    inner.offer(best.lanes, best.machines, method="hint")
    improve(inner, instance, instance.counts(best.lanes), best.machines, 0)
    search.refused += inner.refused
    if inner.best is not None and inner.best.terms.better_than(best.terms):
        search.replace(inner.best.lanes, best)


def _balanced(search: Search, instance: Instance, start: list[int], machines: list[int], least: int) -> None:
    model = dived(search, instance, flows=True) if least == 0 else None
    if model is not None:
        scip(search, model, search.left_s())
    else:
        improve(search, instance, start, machines, least)


def _accurate(search: Search, instance: Instance, start: list[int], machines: list[int], least: int) -> None:
    model = dived(search, instance, flows=True) if least == 0 else None
    if model is not None:
        _on_fleets(search, LinearModel(instance, flows=True))
        start, machines = _better_start(search, instance, start, machines)
    improve(search, instance, start, machines, least)


def _on_fleets(search: Search, model: LinearModel) -> None:
    """Dive into the fleets that the relaxation likes best, then a lanes plan on the one that came out best.

    The relaxation of each serves all, so a dive serves nearly all, and well; what it leaves out is repaired.
    """
    tried: list[tuple[Search, Instance, LinearModel, list[int]]] = []
    last_s = search.left_s() * LAST_SHARE
    for fleet in fleets(model, search.left_s)[:FLEETS]:
        if tried and search.left_s() < last_s:
            break
        fixed = with_machines(search.problem, tuple(fleet))
        inner = Search(fixed, clock=search.clock, budget_s=search.left_s())
        small = reduce(fixed)
        relaxed = dived(inner, small, flows=True)
        if relaxed is not None and inner.best is not None and inner.serves_all:
            search.offer(inner.best.lanes, fleet, method=inner.best.method)
            tried.append((inner, small, relaxed, fleet))
    if not tried:
        return
    inner, small, relaxed, fleet = max(tried, key=lambda each: each[0].best.terms.objective if each[0].best else 0.0)
    scip(inner, relaxed, search.left_s() * SCIP_SHARE)
    if inner.best is not None:
        improve(inner, small, small.counts(inner.best.lanes), fleet, 0)
        search.offer(inner.best.lanes, fleet, method=inner.best.method)
    search.refused += [words for each, _, _, _ in tried for words in each.refused]
