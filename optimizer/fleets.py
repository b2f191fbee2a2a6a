"""Whole machines inside a budget, chosen by the relaxation: what the most accurate plan stands on.

With few pools the fleets around the relaxation's fractional one can be tried one by one; given its machines, a plan
is a lanes plan, which is quickly near its best. Searching machines and lanes at once is not: within two seconds it
often ends where it began.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from optimizer.linear import FLOW_UNIT, LinearModel

TRIES = 24
SHARE_S = 0.35  # of the time that is left, for all tries together


def fleets(model: LinearModel, left_s: Callable[[], float]) -> list[list[int]]:
    """Machines by pool, each inside bounds and budget and enough for all demand in the relaxation; the best first."""
    problem = model.instance.problem
    end_s = left_s() * (1.0 - SHARE_S)
    first, count = model.lane_columns, len(problem.pools)
    solved = model.relaxed(left_s())
    if solved is None:
        return []
    wished = solved[0][first : first + count]
    found: list[tuple[float, list[int]]] = []
    for fleet in _around(model, wished.tolist())[:TRIES]:
        if left_s() < end_s:
            break
        for h, machines in enumerate(fleet):
            model.bound(first + h, lower=float(machines), upper=float(machines))
        tried = model.relaxed(left_s())
        if tried is not None and sum(tried[0][column] for column in model.unserved) * FLOW_UNIT < 1.0:
            found.append((tried[1], fleet))
    for h, pool in enumerate(problem.pools):
        model.bound(first + h, lower=float(pool.machines_min), upper=float(pool.machines_max))
    return [fleet for _, fleet in sorted(found)]


def _around(model: LinearModel, wished: list[float]) -> list[list[int]]:
    """Fleets that the budget allows, near to what is wished and none inside another; the nearest first."""
    problem = model.instance.problem
    usd = np.array([pool.usd_hour for pool in problem.pools])
    budget = problem.budget_usd_hour if problem.budget_usd_hour is not None else math.inf
    steps = [
        sorted({min(pool.machines_max, max(pool.machines_min, math.floor(n + 1e-6) + d)) for d in (-1, 0, 1, 2)})
        for pool, n in zip(problem.pools, wished, strict=True)
    ]
    made = [np.array(fleet) for fleet in itertools.islice(itertools.product(*steps), 4_096)]
    made = [fleet for fleet in made if float(usd @ fleet) <= budget + 1e-9]
    full = [
        fleet for fleet in made
        if not any((other >= fleet).all() and (other > fleet).any() for other in made)
    ]  # fmt: skip
    full.sort(key=lambda fleet: float(usd @ np.abs(fleet - np.array(wished))))
    return [fleet.tolist() for fleet in full]
