"""The planning problem as values: machines, lane kinds, classes of queries, and what is worth how much.

A plan says how many machines of each pool run (n), how many lanes of each kind they hold (x), and how much of each
class goes to which kind (y). What it is worth:

    maximise   alpha . sum_cj w_c y_cj accuracy_j / sum_c w_c lambda_c
             - beta  . sum_h usd_h n_h / usd_ref
             - gamma . sum_j load_j max(0, x_j - x0_j) / load_ref
             - big   . sum_c w_c u_c / sum_c w_c lambda_c

where u is what stays unserved. Unserved comes first: of two plans the one that leaves less (weighted) is better,
whatever the rest; `big` only puts that into one number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

PresetName = Literal["cheapest", "balanced", "most-accurate-within-budget"]
SHARE_TOLERANCE = 1e-7  # of the weighted demand: less than this unserved is rounding


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """Machines of one kind and size.

    Units: `resources` in whole units of `Problem.resources`, of one machine; `machines_now` counts booting ones.
    """

    name: str
    usd_hour: float
    resources: tuple[int, ...]
    machines_min: int = 0
    machines_max: int = 0
    machines_now: int = 0
    boot_us: int = 0


class LaneKind(msgspec.Struct, frozen=True, kw_only=True):
    """One variant on one pool with one batch cap. `pool` is an index; `resident` is how many run now (x0).

    Units: `capacity_qps` of one lane while all of its machine's slots are busy; `resources` as the pool's.
    """

    name: str
    pool: int
    accuracy: float
    capacity_qps: float
    resources: tuple[int, ...]
    load_us: int = 0
    resident: int = 0
    variant: str = ""
    batch: int = 1


class QueryClass(msgspec.Struct, frozen=True, kw_only=True):
    """Queries of equal requirements. `kinds`: indices of the lane kinds that may serve them (serving.py)."""

    name: str
    demand_qps: float
    kinds: tuple[int, ...]
    weight: float = 1.0


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of the four terms."""

    alpha: float = 1.0
    beta: float = 0.05
    gamma: float = 0.0
    big: float = 10.0


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a plan depends on. Equal pools `machines_min` and `machines_max` everywhere: a lanes plan.

    `warm`: groups of lane kinds, of each of which at least one lane runs, demand or not.
    Units: `usd_ref` 0 means the price of the dearest fleet allowed, `load_ref_us` 0 the sum of all kinds' loads.
    """

    pools: tuple[Pool, ...]
    kinds: tuple[LaneKind, ...]
    classes: tuple[QueryClass, ...]
    resources: tuple[str, ...] = ("cores",)
    weights: Weights = Weights()
    budget_usd_hour: float | None = None
    warm: tuple[tuple[int, ...], ...] = ()
    usd_ref: float = 0.0
    load_ref_us: float = 0.0

    @property
    def money_ref(self) -> float:
        dearest = sum(pool.usd_hour * pool.machines_max for pool in self.pools)
        if self.budget_usd_hour is not None:
            dearest = min(dearest, self.budget_usd_hour)
        return self.usd_ref or dearest or 1.0

    @property
    def change_ref(self) -> float:
        return self.load_ref_us or float(sum(kind.load_us for kind in self.kinds)) or 1.0

    @property
    def demand_weighted(self) -> float:
        return sum(c.weight * c.demand_qps for c in self.classes) or 1.0

    @property
    def machines_fixed(self) -> bool:
        return all(pool.machines_min == pool.machines_max for pool in self.pools)


def check(problem: Problem) -> list[str]:
    """What is wrong with the values; empty when nothing is. Solvers assert that nothing is."""
    wrong: list[str] = []
    width = len(problem.resources)
    for pool in problem.pools:
        if len(pool.resources) != width or min(pool.resources, default=0) < 0:
            wrong.append(f"pool {pool.name}: resources {pool.resources}, not {width} of at least 0")
        if not 0 <= pool.machines_min <= pool.machines_max:
            wrong.append(f"pool {pool.name}: machines {pool.machines_min} to {pool.machines_max}")
        if not 0 <= pool.usd_hour < float("inf"):
            wrong.append(f"pool {pool.name}: price {pool.usd_hour}")
    for kind in problem.kinds:
        if not 0 <= kind.pool < len(problem.pools):
            wrong.append(f"lane kind {kind.name}: no pool {kind.pool}")
        if len(kind.resources) != width or min(kind.resources, default=0) < 0:
            wrong.append(f"lane kind {kind.name}: resources {kind.resources}, not {width} of at least 0")
        if not any(kind.resources):
            wrong.append(f"lane kind {kind.name}: takes nothing, so nothing bounds how many")
        if not 0 <= kind.accuracy <= 1:
            wrong.append(f"lane kind {kind.name}: accuracy {kind.accuracy}")
        if not 0 < kind.capacity_qps < float("inf"):
            wrong.append(f"lane kind {kind.name}: capacity {kind.capacity_qps}")
    for asked in problem.classes:
        if not (0 <= asked.demand_qps < float("inf") and 0 < asked.weight < float("inf")):
            wrong.append(f"class {asked.name}: demand {asked.demand_qps}, weight {asked.weight}")
        if any(not 0 <= j < len(problem.kinds) for j in asked.kinds):
            wrong.append(f"class {asked.name}: names a lane kind that is not there")
    return wrong


def preset(problem: Problem, name: PresetName, *, budget_usd_hour: float | None = None, gamma: float = 0.0) -> Problem:
    """The same problem with the weights of a preset, and a budget where one is given.

    cheapest: least cost, accuracy is only a floor. balanced: InfAdapter's beta. most-accurate-within-budget: the
    budget is all that money means.
    """
    weights: Mapping[PresetName, tuple[float, float]] = {
        "cheapest": (0.0, 1.0),
        "balanced": (1.0, 0.05),
        "most-accurate-within-budget": (1.0, 0.0),
    }
    alpha, beta = weights[name]
    big = 2.0 * (alpha + beta + gamma) + 1.0
    return msgspec.structs.replace(
        problem,
        weights=Weights(alpha=alpha, beta=beta, gamma=gamma, big=big),
        budget_usd_hour=problem.budget_usd_hour if budget_usd_hour is None else budget_usd_hour,
    )


def with_machines(problem: Problem, machines: tuple[int, ...]) -> Problem:
    """The lanes plan's problem: the same with the machines that exist, no more and no fewer, and money out of it."""
    assert len(machines) == len(problem.pools)
    pools = tuple(
        msgspec.structs.replace(pool, machines_min=n, machines_max=n)
        for pool, n in zip(problem.pools, machines, strict=True)
    )
    return msgspec.structs.replace(
        problem, pools=pools, budget_usd_hour=None, usd_ref=problem.money_ref, load_ref_us=problem.change_ref
    )
