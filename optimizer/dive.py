"""From the linear relaxation to whole lanes in 5 to 15 linear programs; the relaxation's value is a bound.

Each step fixes what came out whole as a lower bound and rounds up, in every part, the lanes with the largest
fractions, or down where machines or budget have no room left.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optimizer.instance import Floats, Instance, Ints
from optimizer.linear import LinearModel

STEPS_MAX = 40
SHARE = 0.34  # of a part's fractions that one step rounds
WHOLE = 1e-6


@dataclass(frozen=True, slots=True)
class Dived:
    """Lanes and machines by position (None where there was no time), and the relaxation's objective."""

    lanes: list[int] | None
    machines: list[int] | None
    bound: float


def dive(model: LinearModel, left_s: Callable[[], float]) -> Dived | None:
    """Round the relaxation of `model`; None: it could not even be solved in time."""
    lanes = model.lane_columns
    lower, upper = np.array(model.lower[:lanes]), np.array(model.upper[:lanes])
    bound: float | None = None
    values: Floats | None = None
    for step in range(STEPS_MAX):
        solved = model.relaxed(left_s())
        if solved is None:
            break
        values = solved[0][:lanes]
        bound = solved[1] if bound is None else bound
        fraction = values - np.floor(values + WHOLE)
        open_lanes = np.flatnonzero(fraction > WHOLE)
        if open_lanes.size == 0:
            made = np.round(values).astype(np.int64)
            return Dived(lanes=made.tolist(), machines=machines_for(model.instance, made), bound=bound)
        settled = np.floor(values + WHOLE)
        raised = np.maximum(lower, settled) if step else lower
        chosen = [
            part_open[np.argsort(-fraction[part_open])][: max(1, math.ceil(SHARE * part_open.size))]
            for part in model.instance.parts
            if (part_open := np.intersect1d(open_lanes, np.array(part.kinds, np.int64))).size
        ]
        for j in np.concatenate(chosen) if chosen else open_lanes:
            up = raised.copy()
            up[j] = settled[j] + 1
            if up[j] <= upper[j] and _fits(model, up):
                raised = up
            else:
                upper[j] = settled[j]
        for j in np.flatnonzero(raised != lower):
            model.bound(int(j), lower=float(raised[j]))
        for j in np.flatnonzero(upper != np.array(model.upper[:lanes])):
            model.bound(int(j), upper=float(max(upper[j], raised[j])))
        lower = raised
    if bound is None:
        return None
    if values is None:
        return Dived(lanes=None, machines=None, bound=bound)
    made = np.floor(np.maximum(values, lower) + WHOLE).astype(np.int64)
    if not _fits(model, made.astype(np.float64)):
        return Dived(lanes=None, machines=None, bound=bound)
    return Dived(lanes=made.tolist(), machines=machines_for(model.instance, made), bound=bound)


def machines_for(instance: Instance, lanes: Ints) -> list[int]:
    """The fewest machines of each pool that hold these lanes, in sum."""
    made = []
    for h, pool in enumerate(instance.problem.pools):
        inside = instance.pool == h
        used = (instance.resources[inside] * lanes[inside, None]).sum(axis=0)
        needed = [-(-int(u) // room) for u, room in zip(used, pool.resources, strict=True) if room > 0]
        made.append(max(pool.machines_min, *needed, 0))
    return made


def _fits(model: LinearModel, lanes: Floats) -> bool:
    machines = machines_for(model.instance, np.ceil(lanes - WHOLE).astype(np.int64))
    problem = model.instance.problem
    if any(n > pool.machines_max for n, pool in zip(machines, problem.pools, strict=True)):
        return False
    spent = sum(n * pool.usd_hour for n, pool in zip(machines, problem.pools, strict=True))
    return problem.budget_usd_hour is None or spent <= problem.budget_usd_hour + 1e-9
