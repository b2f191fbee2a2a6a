"""Search from the linear relaxation: the dive, then SCIP from the best plan so far; both tighten the bound."""

from __future__ import annotations

import dataclasses

import numpy as np

from optimizer.cpsat import CountModel, units_unserved
from optimizer.dive import dive
from optimizer.instance import Instance
from optimizer.linear import LinearModel
from optimizer.search import Search

REPAIR_SHARE = 0.3  # of the time that is left
USD_TOLERANCE, ACCURACY_TOLERANCE = 1e-4, 1e-6  # absolute: a relative gap on a mixed objective hides money


def dived(search: Search, instance: Instance, *, flows: bool) -> LinearModel | None:
    """Dive, and offer what it found. Returns: the model, None if there was no time."""
    if search.left_s() <= 0:
        return None
    model = LinearModel(instance, flows=flows)
    found = dive(model, search.left_s)
    if found is None:
        return None
    search.bounded(relaxed_objective(model, found.bound))
    if found.lanes is not None and found.machines is not None:
        search.offer_counts(instance, found.lanes, found.machines, "dive")
        if search.left_s() > 0 and units_unserved(instance, found.lanes) > 0:
            _repaired(search, instance, found.lanes, found.machines)
    return model


def _repaired(search: Search, instance: Instance, lanes: list[int], machines: list[int]) -> None:
    """Serve what the dive left out, with as few other lanes as possible.

    Where there is no room it rounds down, and what it finds is then near the best in all but some demand. Its lanes
    are taken for the resident ones, so that the first step of a lanes plan changes little.
    """
    near = dataclasses.replace(instance, resident=np.array(lanes, np.int64))
    model = CountModel(near, flows=False, unserved=True)
    model.minimise_unserved()
    found = model.solve(search.left_s() * REPAIR_SHARE, lanes=lanes, machines=machines)
    if found is not None:
        search.offer_counts(instance, found.lanes, found.machines, "dive")


def scip(search: Search, model: LinearModel, seconds: float) -> None:
    """SCIP from the best plan so far, which serves all demand."""
    instance, best = model.instance, search.best
    if best is None or seconds <= 0 or not search.serves_all:
        return
    lanes = [min(x, int(most)) for x, most in zip(instance.counts(best.lanes), model.upper, strict=False)]
    tolerance = USD_TOLERANCE if model.money else ACCURACY_TOLERANCE
    found = model.searched(seconds, model.hint(lanes, best.machines), absolute_gap=tolerance)
    if found is None:
        return
    counts = [round(value) for value in found.values[: len(instance.original) + len(best.machines)]]
    search.bounded(relaxed_objective(model, found.bound))
    search.offer_counts(instance, counts[: len(instance.original)], counts[len(instance.original) :], "scip")


def relaxed_objective(model: LinearModel, value: float) -> float:
    """The linear model's objective in the problem's units, what is unserved left out."""
    problem, prices = model.instance.problem, model.instance.problem.weights
    if prices.alpha == 0 and prices.beta == 0:  # then dollars only break ties
        return 0.0
    best = sum(
        d * w * b
        for part in model.instance.parts
        for d, w, b in zip(part.demand, part.weight, part.best, strict=True)
    )  # fmt: skip
    served = sum(d * w for part in model.instance.parts for d, w in zip(part.demand, part.weight, strict=True)) or 1
    if prices.beta > 0:
        return float(prices.alpha * best / served - prices.beta * value / problem.money_ref)
    return float(prices.alpha * best / served - value)
