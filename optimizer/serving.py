"""Which lane kinds there are, and which classes they may serve: from the catalogue and what is asked for.

A lane kind may serve a class when the target matches, its accuracy and cost keep the class's floor and ceiling, and

    form_wait + l99(b) + reserve <= SLO

where form_wait is how long a query waits until its batch of b is together and starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from optimizer.problem import LaneKind, Pool, QueryClass
from registry.catalog import Offer
from registry.records import Profile

RESOURCES = ("cores", "memory_mib", "device_units")
BATCHES = (1, 2, 4, 8, 16, 32)
ETA = 0.75  # of b / l99(b): measured .74 to .97 over SLOs and burstiness (eta.py learns it)
SECOND_US = 1_000_000
MIB = 1 << 20


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What one machine of a pool has. Units: `device_units` hundredths of a GPU, or NeuronCores."""

    pool: str
    usd_hour: float
    cores: int
    memory_mib: int
    device_units: int = 0
    machines_min: int = 0
    machines_max: int = 0
    machines_now: int = 0
    boot_us: int = 0


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A class as it is asked for. Units: `cost_max_usd` for 1,000 queries; `slo_us` None is best effort."""

    name: str
    target: str
    level: Literal["task", "model", "variant"] = "task"
    slo_us: int | None = None
    accuracy_min: float = 0.0
    cost_max_usd: float | None = None
    demand_qps: float = 0.0
    weight: float = 1.0


class LaneOf(msgspec.Struct, frozen=True, kw_only=True):
    """A lane kind's offer and batch cap, beside it in the menu."""

    offer: Offer
    batch: int
    kind: LaneKind


def demand_qps(forecast_qps: float, backlog: int, *, drain_s: float) -> float:
    """What a plan must carry: the forecast's quantile, and the backlog gone within `drain_s`."""
    assert drain_s > 0, drain_s
    return forecast_qps + backlog / drain_s


def pools_of(machines: Iterable[Machine]) -> tuple[Pool, ...]:
    return tuple(
        Pool(
            name=m.pool, usd_hour=m.usd_hour, resources=(m.cores, m.memory_mib, m.device_units),
            machines_min=m.machines_min, machines_max=m.machines_max, machines_now=m.machines_now, boot_us=m.boot_us,
        )
        for m in machines
    )  # fmt: skip


def menu(
    offers: Iterable[Offer],
    profiles: Mapping[tuple[str, str], Profile],
    machines: Iterable[Machine],
    *,
    eta: Mapping[tuple[str, str], float] | None = None,
    resident: Mapping[tuple[str, str, int], int] | None = None,
    device_units: Mapping[str, int] | None = None,
    batches: Iterable[int] = BATCHES,
) -> list[LaneOf]:
    """Every (variant, pool, batch cap) whose machine is known.

    `eta` by (variant, pool), `resident` by (variant, pool, batch). `device_units` by variant: its share of a device,
    where its width is not that already. A lane's cores are its width on a CPU and one elsewhere.
    """
    pools = {machine.pool: h for h, machine in enumerate(machines)}
    made = []
    for offer in offers:
        if offer.pool not in pools:
            continue
        at = (offer.variant, offer.pool)
        profile = profiles[at]
        on_cpu = offer.hardware == "cpu"
        units = 0 if on_cpu else (device_units or {}).get(offer.variant, offer.width)
        for batch in (b for b in batches if b <= offer.latency.batch_max):
            l99_us = offer.latency.p99_us[batch]
            kind = LaneKind(
                name=f"{offer.variant}@{offer.pool}/b{batch}", variant=offer.variant, pool=pools[offer.pool],
                batch=batch, accuracy=offer.accuracy,
                capacity_qps=(eta or {}).get(at, ETA) * batch * SECOND_US / l99_us,
                resources=(offer.width if on_cpu else 1, max(1, -(-profile.memory_bytes // MIB)), units),
                load_us=profile.load_us, resident=(resident or {}).get((*at, batch), 0),
            )  # fmt: skip
            made.append(LaneOf(offer=offer, batch=batch, kind=kind))
    return made


def classes_of(wanted: Iterable[Wanted], lanes: list[LaneOf], *, reserve_us: int) -> tuple[QueryClass, ...]:
    """Each class with the kinds that may serve it. `reserve_us`: the reply's way, measured, 2 to 5 ms."""
    wanted = list(wanted)
    rate: dict[str, float] = {}
    for asked in wanted:
        rate[asked.target] = rate.get(asked.target, 0.0) + asked.demand_qps
    return tuple(
        QueryClass(
            name=asked.name, demand_qps=asked.demand_qps, weight=asked.weight,
            kinds=tuple(
                j for j, lane in enumerate(lanes)
                if may_serve(lane, asked, rate_qps=rate[asked.target], reserve_us=reserve_us)
            ),
        )
        for asked in wanted
    )  # fmt: skip


def may_serve(lane: LaneOf, asked: Wanted, *, rate_qps: float, reserve_us: int) -> bool:
    """Whether this kind keeps what the class requires, at the rate of the class's target."""
    offer = lane.offer
    target = {"task": offer.task, "model": offer.model, "variant": offer.variant}[asked.level]
    if target != asked.target or offer.accuracy < asked.accuracy_min:
        return False
    if asked.cost_max_usd is not None and offer.cost_usd > asked.cost_max_usd:
        return False
    if asked.slo_us is None:
        return True
    capacity = lane.kind.capacity_qps
    # A lane with less to do than it can carry fires smaller batches sooner, so its full rate is the worst case.
    rate = max(rate_qps, capacity)
    run_us = offer.latency.p99_us[lane.batch]
    wait_us = form_wait_us(run_us, batch=lane.batch, rate_qps=rate, lanes=math.ceil(rate / capacity - 1e-9))
    return wait_us + run_us + reserve_us <= asked.slo_us


def form_wait_us(run_us: int, *, batch: int, rate_qps: float, lanes: int) -> float:
    """How long the unluckiest query waits until its batch starts.

    With n = r l(b) / b lanes busy on average: while others run (n > 1), l(b) / min(n, lanes) until the next is free;
    else until b queries have come, b / r. A batch of one is together at once.
    """
    assert batch >= 1
    assert rate_qps > 0
    busy = rate_qps * run_us / (batch * SECOND_US)
    if busy > 1:
        return run_us / min(busy, max(1, lanes))
    return 0.0 if batch == 1 else batch * SECOND_US / rate_qps
