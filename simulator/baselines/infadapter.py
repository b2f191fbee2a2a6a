"""InfAdapter (EuroMLSys'23): every 30 s a set of variants and their cores, by enumeration. Pure.

    max sum_m l_m / load * accuracy_m  -  beta sum_m n_m / B  -  gamma max_m [n_m changes] load_m / max load
    s.t. sum_m n_m <= B,  sum_m th_m(n_m) >= load,  n_m = 0 or 2 .. B,  th_m(n) = floor(0.8 (a_m n + b_m))

with the most accurate variants filled first (l_m). The released solver forbids any plan whose variants but the fastest
sum to more than the load, which is not in the paper and not here. The forecast is the caller's: an LSTM over the maxima
of the last ten minutes, times 1.1. Source: reconfigurable-ml-pipeline/InfAdapter, auto_tuner/adapter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

PERIOD_S = 30.0  # of sleep, after a transition has ended
HISTORY_S, CHUNK_S = 600, 60
MARGIN = 1.1  # on the forecast
COUNTED_ON = 0.8  # of a variant's fitted capacity
CORES_MIN = 2
SKIPS_MAX = 4  # decisions in a row that keep a plan made for more load
BETA, GAMMA, BUDGET = 0.05, 0.001, 20


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A variant's capacity as it was fitted. Units: `slope` and `intercept` queries/s, a core and altogether."""

    accuracy: float
    slope: float
    intercept: int = 0
    load_s: float = 1.0

    def capacity(self, cores: int) -> int:
        """Whole queries per second that are counted on."""
        return math.floor(max(0.0, COUNTED_ON * (self.slope * cores + self.intercept))) if cores else 0


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What stands: cores by variant, the load it was made for, and how often in a row it was kept."""

    cores: dict[str, int] = {}
    made_for: int = 0
    kept: int = 0


def maxima(history: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What the forecast sees: the largest second of each of the last ten minutes; fewer if there is less.

    history: (t,) queries a second, the newest last.
    """
    last = history[-HISTORY_S:]
    last = last[len(last) % CHUNK_S :] if len(last) >= CHUNK_S else last
    found: npt.NDArray[np.float64] = (
        last.reshape(-1, CHUNK_S).max(axis=1) if len(last) >= CHUNK_S else np.array([last.max(initial=0.0)])
    )
    return found


def decide(
    forecast_qps: float, state: State, menu: Mapping[str, Curve], *, budget: int = BUDGET, beta: float = BETA,
    gamma: float = GAMMA,
) -> State:  # fmt: skip
    """The next plan. A load that the present one was made for keeps it, at most SKIPS_MAX times in a row.

    forecast_qps: without the margin.
    """
    load = int(MARGIN * forecast_qps)
    if state.cores and load <= state.made_for and state.kept < SKIPS_MAX:
        return msgspec.structs.replace(state, kept=state.kept + 1)
    return State(cores=allocation(load, state.cores, menu, budget=budget, beta=beta, gamma=gamma), made_for=load)


def allocation(
    load: int, before: Mapping[str, int], menu: Mapping[str, Curve], *, budget: int = BUDGET, beta: float = BETA,
    gamma: float = GAMMA,
) -> dict[str, int]:  # fmt: skip
    """Cores by variant, none with 0; all of the budget for the fastest variant if nothing carries the load."""
    names = sorted(menu, key=lambda name: -menu[name].accuracy)
    rows = allocations(len(names), budget)
    value = objective(rows, load, [menu[name] for name in names], budget=budget, beta=beta)
    slowest = max(curve.load_s for curve in menu.values())
    changes = np.zeros(len(rows))
    for column, name in enumerate(names):
        changed = (rows[:, column] != 0) & (rows[:, column] != before.get(name, 0))
        changes = np.maximum(changes, changed * menu[name].load_s / slowest)
    value = value - gamma * changes
    best = int(np.argmax(value))
    if not np.isfinite(value[best]):
        return {max(names, key=lambda name: menu[name].slope): budget}
    return {name: int(cores) for name, cores in zip(names, rows[best], strict=True) if cores}


def objective(
    rows: npt.NDArray[np.int64], load: float, curves: list[Curve], *, budget: int, beta: float
) -> npt.NDArray[np.float64]:
    """Of each allocation, without the cost of changing; -inf where the load is not carried.

    Shapes: `rows` (n, variants), the most accurate variant first; the result (n,).
    """
    left = np.full(len(rows), float(load))
    gained = np.zeros(len(rows))
    for column, curve in enumerate(curves):
        table = np.array([curve.capacity(n) for n in range(budget + 1)])
        served = np.minimum(left, table[rows[:, column]])
        left -= served
        gained += served * curve.accuracy
    found: npt.NDArray[np.float64] = np.where(
        left <= 0, gained / max(load, 1e-9) - beta * rows.sum(axis=1) / budget, -np.inf
    )
    return found


def beside(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What stands during a transition: the new is created before the old is destroyed."""
    return {name: max(before.get(name, 0), after.get(name, 0)) for name in {**before, **after}}


def paid_cores(paid: Sequence[tuple[int, int]], began_us: int, seconds: int) -> float:
    """The mean over the seconds since then. `paid`: moments, and the cores that are paid for since each."""
    at_us = began_us + np.arange(seconds) * 1_000_000
    index = np.searchsorted([since_us for since_us, _ in paid], at_us, side="right") - 1
    return float(np.mean([paid[n][1] for n in index]))


@lru_cache(maxsize=8)
def allocations(variants: int, budget: int) -> npt.NDArray[np.int64]:
    """Every allocation of at most `budget` cores, each 0 or at least CORES_MIN; (20,529, 5) for five and 20."""
    made: list[tuple[int, ...]] = [()]
    for _ in range(variants):
        made = [(*part, n) for part in made for n in (0, *range(CORES_MIN, budget + 1)) if sum(part) + n <= budget]
    return np.array(made, np.int64)
