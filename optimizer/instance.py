"""A problem made small and whole: parts that share no class, merged classes, integer units, undominated kinds.

Everything here is exact but for the rounding: demand up and capacity down to a unit that is between a millionth and a
ten-millionth of the demand, so that what holds in units holds in queries per second.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from optimizer.problem import Problem

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

STEPS = 1e6  # the demand is at least this many units: a coarser one leaves .07 % unserved at 300 machines
WEIGHT_STEPS = 1000  # weights are whole multiples of a thousandth of the largest
ROUNDING = 1e-6  # of a unit, which is float noise and no demand


@dataclass(frozen=True, slots=True)
class Part:
    """Classes that share lane kinds, and those kinds. `kinds` are positions in the instance.

    Shapes: `demand` and `weight` (m,), whole units; a kind's mask has bit i for class i.
    """

    demand: tuple[int, ...]
    weight: tuple[int, ...]
    best: tuple[float, ...]  # accuracy that the class could have
    kinds: tuple[int, ...]

    @property
    def full(self) -> int:
        return (1 << len(self.demand)) - 1

    def demand_of(self, mask: int) -> int:
        return sum(d for i, d in enumerate(self.demand) if mask >> i & 1)


@dataclass(frozen=True, slots=True)
class Row:
    """sum coefficients x[kinds] + sum u[classes] >= demand. `classes` are positions in the part."""

    kinds: tuple[int, ...]
    coefficients: tuple[int, ...]
    classes: tuple[int, ...]
    demand: int


@dataclass(frozen=True, slots=True)
class Instance:
    """The reduced problem as arrays over the kept lane kinds. `original` are their indices in the problem."""

    problem: Problem
    unit_qps: float
    original: Ints
    pool: Ints
    capacity: Ints  # units, not above what the kind can reach
    accuracy: Floats
    resources: Ints  # (kinds, resources)
    load_us: Ints
    resident: Ints
    mask: tuple[int, ...]
    parts: tuple[Part, ...]
    position: dict[int, int] = field(default_factory=dict)  # original index -> position
    rows: dict[int, tuple[list[Row], bool]] = field(default_factory=dict)  # hall.py's, by part

    def lanes(self, counts: Collection[int]) -> list[int]:
        """Counts by position as counts by the problem's lane kinds."""
        made = [0] * len(self.problem.kinds)
        for j, count in zip(self.original.tolist(), counts, strict=True):
            made[j] = int(count)
        return made

    def counts(self, lanes: Collection[int]) -> list[int]:
        """Counts by the problem's lane kinds as counts by position; kinds that were dropped are lost."""
        lanes = list(lanes)
        return [lanes[j] for j in self.original.tolist()]


def reduce(problem: Problem, *, keep: Collection[int] = (), accuracy: bool = True) -> Instance:
    """What decides the optimum, and nothing else.

    `keep`: kinds that a hint uses, which would become infeasible without them. `accuracy` False: drop also what is
    more accurate and otherwise worse, where accuracy is not in the objective.
    """
    serves = np.zeros((len(problem.kinds), len(problem.classes)), dtype=np.bool_)
    for c, asked in enumerate(problem.classes):
        if asked.demand_qps > 0:
            serves[list(asked.kinds), c] = True
    total = sum(asked.demand_qps for asked in problem.classes)
    unit = 10.0 ** math.floor(math.log10(total / STEPS)) if total > 0 else 1.0
    columns = _merged(problem, serves)
    serves = serves[:, [group[0] for group in columns]] if columns else serves[:, :0]
    demand = np.array([_up(sum(problem.classes[c].demand_qps for c in group) / unit) for group in columns], np.int64)
    weight = _weights([problem.classes[group[0]].weight for group in columns])

    reach = serves @ demand
    capacity = np.array([_down(kind.capacity_qps / unit) for kind in problem.kinds], np.int64)
    capacity = np.minimum(capacity, reach)
    pinned = {j for group in problem.warm for j in group} | {j for j in keep if capacity[j] > 0}
    if problem.weights.gamma > 0:
        pinned |= {j for j, kind in enumerate(problem.kinds) if kind.resident > 0 and capacity[j] > 0}

    resources = np.array([kind.resources for kind in problem.kinds], np.int64).reshape(-1, len(problem.resources))
    pool = np.array([kind.pool for kind in problem.kinds], np.int64)
    worth = np.array([kind.accuracy if accuracy else 0.0 for kind in problem.kinds])
    load = np.array([kind.load_us for kind in problem.kinds], np.int64)
    part_of_column = _parts(serves)
    part_of_kind = np.array([part_of_column[row.argmax()] if row.any() else -1 for row in serves], np.int64)
    kept: list[int] = []
    for key in np.unique(np.stack([part_of_kind, pool]), axis=1).T:
        members = np.flatnonzero((part_of_kind == key[0]) & (pool == key[1]))
        if key[0] < 0:
            kept += [int(j) for j in members if int(j) in pinned]
            continue
        members = members[capacity[members] > 0]
        costs = [resources[members], load[members, None]] if problem.weights.gamma > 0 else [resources[members]]
        lost = _dominated(serves[members], worth[members], capacity[members], np.hstack(costs))
        kept += [int(j) for j, gone in zip(members, lost, strict=True) if not gone or int(j) in pinned]
    return _instance(
        problem, unit, sorted(kept), serves, demand, weight, capacity, part_of_column, resources, pool
    )  # fmt: skip


def _instance(
    problem: Problem, unit: float, kept: list[int], serves: Flags, demand: Ints, weight: list[int], capacity: Ints,
    part_of_column: Ints, resources: Ints, pool: Ints,
) -> Instance:  # fmt: skip
    accuracy = np.array([problem.kinds[j].accuracy for j in kept])
    rows = serves[kept]
    masks = [0] * len(kept)
    parts = []
    for label in range(int(part_of_column.max(initial=-1)) + 1):
        columns = np.flatnonzero(part_of_column == label)
        inside = np.flatnonzero(rows[:, columns].any(axis=1))
        for i in inside:
            packed = np.packbits(rows[i, columns], bitorder="little")
            masks[int(i)] = int.from_bytes(packed.tobytes(), "little")
        best = [float(accuracy[rows[:, c]].max(initial=0.0)) for c in columns]
        parts.append(
            Part(
                demand=tuple(int(d) for d in demand[columns]), weight=tuple(weight[c] for c in columns),
                best=tuple(best), kinds=tuple(int(i) for i in inside),
            )
        )  # fmt: skip
    return Instance(
        problem=problem, unit_qps=unit, original=np.array(kept, np.int64), pool=pool[kept], capacity=capacity[kept],
        accuracy=accuracy, resources=resources[kept],
        load_us=np.array([problem.kinds[j].load_us for j in kept], np.int64),
        resident=np.array([problem.kinds[j].resident for j in kept], np.int64),
        mask=tuple(masks), parts=tuple(parts), position={j: i for i, j in enumerate(kept)},
    )  # fmt: skip


def _merged(problem: Problem, serves: Flags) -> list[list[int]]:
    """Classes with demand, those together that have the same lane kinds and weight."""
    groups: dict[tuple[bytes, float], list[int]] = {}
    for c, asked in enumerate(problem.classes):
        if asked.demand_qps > 0:
            groups.setdefault((serves[:, c].tobytes(), asked.weight), []).append(c)
    return list(groups.values())


def _parts(serves: Flags) -> Ints:
    """A label for each class; classes with a lane kind in common have the same."""
    label = np.arange(serves.shape[1])
    for row in np.unique(serves, axis=0):
        joined = label[row]
        if joined.size > 1:
            label[np.isin(label, joined)] = joined.min()
    return np.unique(label, return_inverse=True)[1].astype(np.int64)


def _dominated(serves: Flags, accuracy: Floats, capacity: Ints, costs: Ints) -> Flags:
    """Which of n kinds another one replaces: all its classes, its accuracy, its capacity, for no more."""
    lacks = serves.astype(np.int32) @ (~serves).astype(np.int32).T  # [j, k]: classes of j that k has not
    by = (lacks == 0) & (accuracy[None, :] >= accuracy[:, None]) & (capacity[None, :] >= capacity[:, None])
    by &= (costs[None, :, :] <= costs[:, None, :]).all(axis=2)
    equal = by & by.T  # of equal ones the first stays
    first = np.tril(np.ones_like(by), -1)
    return np.asarray((by & (~equal | first)).any(axis=1), dtype=np.bool_)


def _weights(weights: list[float]) -> list[int]:
    if not weights:
        return []
    most = max(weights)
    whole = [max(1, round(w / most * WEIGHT_STEPS)) for w in weights]
    divisor = math.gcd(*whole)
    return [w // divisor for w in whole]


def _up(units: float) -> int:
    return max(1, math.ceil(units - ROUNDING))


def _down(units: float) -> int:
    return math.floor(units + ROUNDING)
