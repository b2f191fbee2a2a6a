"""The planner's test fleets: a catalogue of INFaaS's size, classes over it, and demand vectors, all from seeds."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from optimizer.problem import Problem
from optimizer.serving import RESOURCES, LaneOf, Machine, Wanted, classes_of, menu, pools_of
from registry.records import Profile
from registry.scale import invented, scale
from registry.tables.curve import catalogue

RESERVE_US = 3_000
SEED = 1
VECTORS = 10  # the first half noise of 10 %, the second half twice the demand on one task
NOISE, BURST = 0.10, 2.0
SLO_OF_QUANTILE = (0.15, 0.35, 0.6, 0.9)  # SLO buckets: where 2.5 l99(1) of a task's offers stand
FLOOR_QUANTILES = (0.0, 0.0, 0.4, 0.7)
MACHINES = {
    "cpu": Machine(pool="cpu", usd_hour=0.68, cores=16, memory_mib=32 << 10),
    "gpu": Machine(pool="gpu", usd_hour=3.06, cores=8, memory_mib=61 << 10, device_units=100),
    "inf1": Machine(pool="inf1", usd_hour=0.228, cores=4, memory_mib=8 << 10, device_units=4),
    "inf2": Machine(pool="inf2", usd_hour=0.76, cores=4, memory_mib=16 << 10, device_units=2),
}
POOL_CAPS = {"cpu": 2.0, "gpu": 0.6, "inf1": 0.2, "inf2": 0.1}  # of the fleet's size


class World(msgspec.Struct, frozen=True, kw_only=True):
    """A catalogue's lane kinds and the classes asked of it; demand as shares of 1."""

    lanes: list[LaneOf]
    wanted: list[Wanted]
    tasks: list[str]


def world(*, variants: int = 270, architectures: int = 44, classes: int = 44, seed: int = SEED) -> World:
    """The same arguments give the same world."""
    rng = np.random.default_rng([seed, variants, classes])
    records = scale(invented(), seed=seed, architectures=architectures, variants=variants)
    units: dict[str, int] = {}
    sized: list[Any] = []
    size: dict[str, float] = {}
    for record in records:
        if isinstance(record, Profile):
            name = record.variant.partition("/")[0]
            weight = size.setdefault(name, float(rng.uniform(0.15, 1.6)))  # GiB of weights
            drawn = int(rng.choice([10, 15, 20, 25, 35]))  # for every pool, so that one more GPU changes no other draw
            units[record.variant] = drawn if record.pool == "gpu" else 1
            record = msgspec.structs.replace(
                record, memory_bytes=round(weight * (1 << 30)), load_us=round((2 + 5 * weight) * 1e6)
            )
        sized.append(record)
    made = catalogue(sized)
    offers = made.offers()
    lanes = menu(offers, made.profiles, MACHINES.values(), device_units=units)
    tasks = sorted({offer.task for offer in offers})
    popular = rng.permutation(len(tasks))
    wanted: list[Wanted] = []
    for n in range(classes):
        task = tasks[n % len(tasks)]
        inside = [offer for offer in offers if offer.task == task]
        quick = np.array([2.5 * offer.latency.p99_us[1] + RESERVE_US for offer in inside])
        slo = int(np.quantile(quick, SLO_OF_QUANTILE[rng.integers(len(SLO_OF_QUANTILE))]))
        floor = float(np.quantile([o.accuracy for o in inside], FLOOR_QUANTILES[rng.integers(len(FLOOR_QUANTILES))]))
        possible = max((o.accuracy for o, us in zip(inside, quick, strict=True) if us <= slo), default=0.0)
        share = float(rng.lognormal(0, 0.8) / (1 + popular[n % len(tasks)]))
        wanted.append(
            Wanted(name=f"c{n:03d}", target=task, slo_us=slo, accuracy_min=min(floor, possible), demand_qps=share)
        )
    total = sum(asked.demand_qps for asked in wanted)
    wanted = [msgspec.structs.replace(asked, demand_qps=asked.demand_qps / total) for asked in wanted]
    return World(lanes=lanes, wanted=wanted, tasks=tasks)


def problem(made: World, *, total_qps: float, fleet: int, demand: list[float] | None = None) -> Problem:
    """A machines plan's problem: pools bounded by the size of the fleet, `demand` factors by class."""
    factors = demand or [1.0] * len(made.wanted)
    wanted = [
        msgspec.structs.replace(asked, demand_qps=asked.demand_qps * total_qps * factor)
        for asked, factor in zip(made.wanted, factors, strict=True)
    ]
    steady = [msgspec.structs.replace(asked, demand_qps=asked.demand_qps * total_qps) for asked in made.wanted]
    machines = [
        msgspec.structs.replace(machine, machines_max=max(1, round(POOL_CAPS[name] * fleet)))
        for name, machine in MACHINES.items()
    ]
    # Who may serve whom is from the steady demand, so that vectors of one fleet differ in demand alone.
    serving = classes_of(steady, made.lanes, reserve_us=RESERVE_US)
    classes = tuple(
        msgspec.structs.replace(asked, demand_qps=want.demand_qps) for asked, want in zip(serving, wanted, strict=True)
    )
    return Problem(
        pools=pools_of(machines), kinds=tuple(lane.kind for lane in made.lanes), classes=classes, resources=RESOURCES
    )


def vectors(made: World, *, seed: int = SEED, count: int = VECTORS) -> list[list[float]]:
    """Demand factors by class: noise first, then bursts on one task."""
    rng = np.random.default_rng([seed, len(made.wanted), 7])
    drawn = []
    for n in range(count):
        factors = np.maximum(0.2, rng.normal(1.0, NOISE, len(made.wanted)))
        if n >= count // 2:
            task = made.tasks[int(rng.integers(len(made.tasks)))]
            factors *= [BURST if asked.target == task else 1.0 for asked in made.wanted]
        drawn.append([round(float(f), 4) for f in factors])
    return drawn


def resident(base: Problem, lanes: tuple[int, ...] | list[int]) -> Problem:
    """The same problem with these lanes running now."""
    kinds = tuple(
        msgspec.structs.replace(kind, resident=x) for kind, x in zip(base.kinds, lanes, strict=True)
    )  # fmt: skip
    return msgspec.structs.replace(base, kinds=kinds)
