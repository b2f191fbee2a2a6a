"""Problems whose optimum is known by looking at every plan: InfAdapter's allocations of cores to five ResNets."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from optimizer.problem import LaneKind, Pool, Problem, QueryClass, Weights

CORES = 20
LOADS = tuple(range(5, 386, 5))
BETAS = (0.0125, 0.05, 0.2)
# accuracy, queries/s a core, intercept: InfAdapter's fit at an SLO of 750 ms
RESNETS = (
    (0.69758, 24.446, -6),
    (0.73314, 13.044, -1),
    (0.7613, 10.321, -3),
    (0.77374, 5.090, 0),
    (0.78312, 3.815, -2),
)


def capacity(resnet: int, cores: int) -> int:
    """What InfAdapter counts on: 0.8 of the fitted line, whole queries per second."""
    _, slope, intercept = RESNETS[resnet]
    return math.floor(max(0.0, 0.8 * (slope * cores + intercept)))


@lru_cache(maxsize=1)
def allocations() -> npt.NDArray[np.int64]:
    """Every (cores of each ResNet) of at most 20 cores, each 0 or at least 2; none at all is one of them.

    Shapes: (20,529, 5).
    """
    made: list[tuple[int, ...]] = [()]
    for _ in RESNETS:
        made = [(*part, n) for part in made for n in (0, *range(2, CORES + 1)) if sum(part) + n <= CORES]
    return np.array(made, np.int64)


def best_allocation(rows: npt.NDArray[np.int64], load: float, beta: float) -> float:
    """The best objective: most accurate first until the load is gone, minus beta times the share of cores."""
    left = np.full(len(rows), float(load))
    gained = np.zeros(len(rows))
    for resnet in sorted(range(len(RESNETS)), key=lambda m: -RESNETS[m][0]):
        table = np.array([capacity(resnet, n) if n else 0 for n in range(CORES + 1)])
        served = np.minimum(left, table[rows[:, resnet]])
        left -= served
        gained += served * RESNETS[resnet][0]
    value = np.where(left <= 0, gained / load - beta * rows.sum(axis=1) / CORES, -np.inf)
    return float(value.max())


def infadapter(load: float, beta: float) -> Problem:
    """The same as a planning problem: cores are machines, and an allocation is a lane kind of its width.

    Several lanes of one ResNet are allowed and never better than a wider one, as no intercept is positive. Changes are
    free: InfAdapter charges the longest load, the planner the sum of loads.
    """
    pool = Pool(name="core", usd_hour=1.0, resources=(1,), machines_max=CORES)
    kinds = tuple(
        LaneKind(name=f"resnet{m}/{n}", pool=0, accuracy=accuracy, capacity_qps=capacity(m, n), resources=(n,))
        for m, (accuracy, _, _) in enumerate(RESNETS)
        for n in range(2, CORES + 1)
        if capacity(m, n) > 0
    )
    asked = QueryClass(name="load", demand_qps=float(load), kinds=tuple(range(len(kinds))))
    return Problem(
        pools=(pool,), kinds=kinds, classes=(asked,), weights=Weights(alpha=1.0, beta=beta, gamma=0.0), usd_ref=CORES
    )
