"""What the planner is asked in its benchmark: fleets of 3 to 10,000 machines, and how much demand makes them so."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Literal

import msgspec

from benchmarks.planner_instances import World, problem, resident, vectors, world
from optimizer.plan import Plan
from optimizer.problem import PresetName, Problem, Weights, preset, with_machines
from optimizer.solve import solve

Size = Literal["30x12", "270x44", "270x100"]
SIZES: dict[Size, tuple[int, int, int]] = {"30x12": (30, 8, 12), "270x44": (270, 44, 44), "270x100": (270, 44, 100)}
MACHINES = (3, 10, 30, 100)
LANES = (3, 10, 30, 100, 300)
LARGEST = 10_000
HEADROOM = 1.05  # the lanes plan's machines were planned for this much of the steady demand
GAMMA_LANES = 0.01
BUDGET_SHARE = 0.2  # `accurate`: of the way from the cheapest plan to the dearest fleet


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One fleet. `total_qps` was searched for, so that the preset's plan has about `machines` machines."""

    size: Size
    preset: PresetName
    machines: int
    total_qps: float


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    """The plan that runs when a lanes plan is asked for. `lanes`: (kind, count)."""

    size: Size
    machines: int
    total_qps: float
    fleet: tuple[int, ...]
    lanes: tuple[tuple[int, int], ...]


@lru_cache(maxsize=4)
def world_of(size: Size) -> World:
    variants, architectures, classes = SIZES[size]
    return world(variants=variants, architectures=architectures, classes=classes)


def machines_problem(case: Case, vector: int | None, *, budget_usd_hour: float | None = None) -> Problem:
    """One demand vector of a case; None: the steady demand."""
    made = world_of(case.size)
    demand = None if vector is None else vectors(made)[vector]
    asked = problem(made, total_qps=case.total_qps, fleet=case.machines, demand=demand)
    return preset(asked, case.preset, budget_usd_hour=budget_usd_hour)


def lanes_problem(now: Resident, vector: int) -> Problem:
    """One demand vector on the machines and lanes that are there."""
    made = world_of(now.size)
    asked = problem(made, total_qps=now.total_qps, fleet=now.machines, demand=vectors(made)[vector])
    lanes = [0] * len(asked.kinds)
    for j, count in now.lanes:
        lanes[j] = count
    fixed = with_machines(resident(asked, lanes), now.fleet)
    return msgspec.structs.replace(fixed, weights=Weights(alpha=1.0, beta=0.0, gamma=GAMMA_LANES, big=10.0))


def calibrated(size: Size, name: PresetName, machines: int, *, seconds: float = 0.5) -> Case:
    """A case whose plan has about `machines` machines: bisection over the demand."""
    low, high = machines * 10.0, machines * 100_000.0
    for _ in range(14):
        total = (low * high) ** 0.5
        case = Case(size=size, preset=name, machines=machines, total_qps=round(total, 2))
        plan = solve(machines_problem(case, None), budget_s=seconds, clock=time.monotonic)
        count = sum(plan.machines)
        if plan.terms.unserved > 1e-6 or count > machines:
            high = total
        elif count < machines:
            low = total
        else:
            return case
    return Case(size=size, preset=name, machines=machines, total_qps=round(low, 2))


def settled(size: Size, machines: int, total_qps: float, *, seconds: float) -> Resident:
    """A `balanced` plan for a little more than the steady demand: the state from which lanes plans start."""
    case = Case(size=size, preset="balanced", machines=machines, total_qps=total_qps * HEADROOM)
    plan: Plan = solve(machines_problem(case, None), budget_s=seconds, clock=time.monotonic)
    return Resident(
        size=size, machines=machines, total_qps=total_qps, fleet=plan.machines,
        lanes=tuple((j, x) for j, x in enumerate(plan.lanes) if x),
    )  # fmt: skip
