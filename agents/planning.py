"""From what is known of the world to orders: which lanes each executor should hold, how many machines a pool needs.

Pure: a snapshot and a catalogue in, a proposal out; the same in gives the same out, as long as the solver's time
suffices. The snapshot travels with the plan, so that a decision can be made again later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from agents.plan_classes import wanted_of
from agents.plan_holding import held_as
from agents.plan_placing import placed_plan
from agents.plan_warm import needless, warm_groups, warming, without
from optimizer.assign import planned
from optimizer.explain import bindings
from optimizer.plan import Plan
from optimizer.problem import PresetName, Problem, preset, with_machines
from optimizer.serving import MIB, LaneOf, Machine, Wanted, classes_of, demand_qps, menu, pools_of
from optimizer.solve import solve
from optimizer.transition import Hysteresis, PoolState, sized
from registry.catalog import Catalog
from streams.plans import ClassPlan, Demand, PoolNow, Snapshot

MACHINE_MIB = 1 << 20  # where no executor said how much it has: no bound


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to plan. Units: `budget_usd_hour` for all machines; `headroom` is a factor on every demand."""

    preset: PresetName = "balanced"
    budget_usd_hour: float | None = None
    headroom: float = 1.0
    drain_s: float = 10.0
    reserve_us: int = 5_000
    gamma: float = 0.01
    solve_s: float = 0.5
    warm: bool = True
    hysteresis: Hysteresis = Hysteresis()


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the lanes that are held would do for the same demand; `classes` as in a proposal."""

    unserved_qps: float
    objective: float
    accuracy: float
    classes: tuple[ClassPlan, ...]


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What should be. Shapes: `hosts` lanes by executor and variant; `homeless` lanes that fit on none, by kind.

    `warming`: something is to be kept warm of which nothing is held. `needless`: variants that are held and that nobody
    asks for, nor keeps warm.
    `rounds`: solves it took until lanes had a place, or no time was left. Classes are served by lanes with a place.
    """

    hosts: dict[str, dict[str, int]]
    classes: tuple[ClassPlan, ...]
    status: str
    method: str
    objective: float
    accuracy: float
    usd_hour: float
    bound: float | None = None
    gap_usd_hour: float | None = None
    wall_s: float = 0.0
    homeless: dict[str, int] = {}
    rounds: int = 1
    warming: bool = False
    needless: tuple[str, ...] = ()
    standing: Standing | None = None


class PoolProposal(msgspec.Struct, frozen=True, kw_only=True):
    """How many machines each pool should have; `planned` is what the solver wanted, `why` what held it back."""

    machines: dict[str, int]
    planned: dict[str, int]
    why: dict[str, str]
    states: dict[str, PoolState]


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """What a lanes plan chooses from: a machine of each pool, lane kinds, and what is asked for."""

    machines: list[Machine]
    offered: list[LaneOf]
    asked: list[Wanted]


def weighed(snapshot: Snapshot, catalog: Catalog, options: Options) -> Weighed:
    """What `lanes` starts from, for who wants to see what it could have chosen."""
    machines = _machines(snapshot, catalog, {pool.pool: pool for pool in snapshot.pools})
    asked = [each for demand in snapshot.demands if (each := _wanted(demand, demand.near, options)) is not None]
    return Weighed(machines=machines, offered=_menu(snapshot, catalog, machines), asked=asked)


def lanes(snapshot: Snapshot, catalog: Catalog, options: Options, *, clock: Callable[[], float]) -> Proposal:
    """The lanes of the executors that are there, for the near forecast and the backlog."""
    ground = weighed(snapshot, catalog, options)
    machines, offered, asked = ground.machines, ground.offered, ground.asked
    problem = with_machines(
        _problem(snapshot, machines, offered, asked, options), tuple(m.machines_now for m in machines)
    )
    idle = needless(problem)
    problem = without(problem, idle)
    mine = [[host for host in snapshot.hosts if host.pool == machine.pool] for machine in machines]
    placed = placed_plan(problem, mine, budget_s=options.solve_s, clock=clock)
    plan = placed.plan
    held = planned(
        problem, plan.machines, [kind.resident for kind in problem.kinds], status="hint", method="hint"
    )  # fmt: skip
    return Proposal(
        hosts=placed.hosts, homeless=placed.homeless, rounds=placed.rounds,
        classes=_classes(plan, problem, machines, offered), status=plan.status, method=plan.method,
        objective=plan.terms.objective, accuracy=plan.terms.accuracy, usd_hour=plan.terms.usd_hour,
        bound=plan.bound, gap_usd_hour=plan.gap_usd_hour, wall_s=plan.wall_s,
        warming=warming(problem, plan), needless=idle,
        standing=Standing(
            unserved_qps=sum(held.unserved_qps), objective=held.terms.objective, accuracy=held.terms.accuracy,
            classes=_classes(held, problem, machines, offered),
        ),
    )  # fmt: skip


def machines(
    snapshot: Snapshot, catalog: Catalog, options: Options, states: Mapping[str, PoolState], *,
    clock: Callable[[], float],
) -> PoolProposal:  # fmt: skip
    """The machines of each pool that has a provisioner, for the far forecast; fewer only if the load agrees."""
    known = {pool.pool: pool for pool in snapshot.pools}
    fleet = [m for m in _machines(snapshot, catalog, known) if m.pool in known]
    far = _needed(snapshot, catalog, fleet, options, [d.far for d in snapshot.demands], clock)
    now = _needed(snapshot, catalog, fleet, options, [d.measured for d in snapshot.demands], clock)
    moves = {
        pool: sized(
            far.get(pool, bounds.least), bounds.alive, needed_now=now.get(pool, bounds.least),
            state=states.get(pool, PoolState()), rule=options.hysteresis,
        )
        for pool, bounds in known.items()
    }  # fmt: skip
    return PoolProposal(
        machines={pool: move.machines for pool, move in moves.items()}, planned=far,
        why={pool: move.why for pool, move in moves.items() if move.why},
        states={pool: move.state for pool, move in moves.items()},
    )  # fmt: skip


def _needed(
    snapshot: Snapshot, catalog: Catalog, fleet: list[Machine], options: Options, rates: Sequence[float],
    clock: Callable[[], float],
) -> dict[str, int]:  # fmt: skip
    offered = _menu(snapshot, catalog, fleet)
    asked = [
        each for demand, rate in zip(snapshot.demands, rates, strict=True)
        if (each := _wanted(demand, rate, options)) is not None
    ]  # fmt: skip
    plan = solve(_problem(snapshot, fleet, offered, asked, options), budget_s=options.solve_s, clock=clock)
    if plan.status == "infeasible":
        return {machine.pool: machine.machines_now for machine in fleet}
    return {machine.pool: count for machine, count in zip(fleet, plan.machines, strict=True)}


def _wanted(demand: Demand, rate: float, options: Options) -> Wanted | None:
    return wanted_of(demand.klass, options.headroom * demand_qps(rate, round(demand.backlog), drain_s=options.drain_s))


def _machines(snapshot: Snapshot, catalog: Catalog, bounds: Mapping[str, PoolNow]) -> list[Machine]:
    """One per pool with an executor or a provisioner; its size is its smallest executor's, so that a plan fits all."""
    made = []
    for name, pool in sorted(catalog.pools.items()):
        mine = [host for host in snapshot.hosts if host.pool == name]
        bound = bounds.get(name)
        if not mine and bound is None:
            continue
        size = min((host.cores for host in mine), default=(bound.cores if bound else 0) or pool.cores)
        memory = min((host.memory_mb for host in mine if host.memory_mb), default=0) * 1_000_000 // MIB
        made.append(
            Machine(
                pool=name, usd_hour=pool.price_usd_hour * size / pool.cores, cores=size,
                memory_mib=memory or MACHINE_MIB,
                machines_min=len(mine) if bound is None else bound.least,
                machines_max=len(mine) if bound is None else bound.most, machines_now=len(mine),
            )
        )  # fmt: skip
    return made


def _menu(snapshot: Snapshot, catalog: Catalog, machines: Iterable[Machine]) -> list[LaneOf]:
    """Every lane kind but those of variants that none of a pool's executors could load."""
    machines = list(machines)
    hosts = {machine.pool: [host for host in snapshot.hosts if host.pool == machine.pool] for machine in machines}
    hopeless = {
        (variant, pool)
        for pool, mine in hosts.items()
        for variant in {name for host in mine for name in host.failed}
        if all(variant in host.failed for host in mine)
    }
    offers = [offer for offer in catalog.offers() if (offer.variant, offer.pool) not in hopeless]
    eta = {
        (variant, pool): value for name, value in snapshot.eta.items() for variant, _, pool in [name.rpartition("@")]
    }
    return menu(offers, catalog.profiles, machines, eta=eta)


def _problem(
    snapshot: Snapshot, machines: list[Machine], offered: list[LaneOf], asked: list[Wanted], options: Options
) -> Problem:
    classes = classes_of(asked, offered, reserve_us=options.reserve_us)
    held: dict[tuple[str, str], int] = {}
    for host in snapshot.hosts:
        for variant, lanes_ in host.held.items():
            held[variant, host.pool] = held.get((variant, host.pool), 0) + lanes_
    resident = held_as(offered, classes, held)
    made = Problem(
        pools=pools_of(machines), classes=classes,
        kinds=tuple(
            msgspec.structs.replace(lane.kind, resident=resident.get(j, 0)) for j, lane in enumerate(offered)
        ),
        resources=("cores", "memory_mib", "device_units"),
        warm=warm_groups(offered, snapshot.warm) if options.warm else (),
    )  # fmt: skip
    return preset(made, options.preset, budget_usd_hour=options.budget_usd_hour, gamma=options.gamma)


def _classes(plan: Plan, problem: Problem, machines: list[Machine], offered: list[LaneOf]) -> tuple[ClassPlan, ...]:
    flows: dict[int, dict[tuple[str, str], float]] = {}
    for c, j, qps in plan.flows:
        at = (offered[j].offer.variant, machines[problem.kinds[j].pool].pool)
        mine = flows.setdefault(c, {})
        mine[at] = mine.get(at, 0.0) + qps
    return tuple(
        ClassPlan(
            klass=asked.name, demand_qps=round(asked.demand_qps, 3), unserved_qps=round(plan.unserved_qps[c], 3),
            binding=binding,
            flows=tuple((v, p, round(qps, 3)) for (v, p), qps in sorted(flows.get(c, {}).items()) if qps > 0),
        )
        for c, (asked, binding) in enumerate(zip(problem.classes, bindings(plan, problem), strict=True))
    )  # fmt: skip


def moved(before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The executors whose lanes are to change."""
    return [name for name, lanes_ in sorted(after.items()) if before.get(name) != lanes_]


def finite(value: float | None) -> float | None:
    """For JSON, which has no infinity."""
    return value if value is not None and math.isfinite(value) else None
