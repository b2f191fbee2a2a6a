"""What would have sufficed, by who knows the load: machines second by second, and the best plan that never changes.

Pure but for the clock that bounds the solver. Both are the planner's own problem with its own weights, so that what
differs is only what is known. The oracle knows the largest second of the coming LOOK_S and what starting a machine
takes; it wants no headroom, waits for no agreement, and changes lanes for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from agents.counts import class_of
from agents.planning import Options, lanes, machines
from forecasting.rows import Floats
from headrace.fleet_parts import Fleet
from optimizer.transition import Hysteresis
from registry.catalog import Catalog
from simulator.loads import Scene
from streams.plans import Demand, Host, PoolNow, Snapshot

LOOK_S = 20
PEAK = 0.99
GRAIN = 0.02  # rates closer to each other than this share a solve
OPTIONS = Options(headroom=1.0, solve_s=1.0, hysteresis=Hysteresis(hold=1, step_out=10_000, step_in=10_000))


class Fixed(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that never changes: machines by pool, and lanes for each of a pool's machines."""

    machines: dict[str, int]
    lanes: dict[str, list[dict[str, int]]]


def ahead(qps: Floats, seconds: int) -> Floats:
    """The largest of each class in the coming `seconds`, the present one included; shape as `qps`."""
    padded = np.concatenate([qps, np.repeat(qps[-1:], seconds, axis=0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, seconds, axis=0)
    found: Floats = windows[: len(qps)].max(axis=2)
    return found


def needed(
    scene: Scene, qps: Floats, fleet: Fleet, catalog: Catalog, *, eta: Mapping[str, float], options: Options,
    clock: Callable[[], float], tell: Callable[[int], None] = lambda _done: None,
) -> list[dict[str, int]]:  # fmt: skip
    """Machines by pool for every second. `qps`: what came, by second and class; `eta` as learnt by who served it."""
    look = LOOK_S + round(max(pool.boot_s for pool in fleet.pools.values()))
    rates = _grained(ahead(qps, look))
    known: dict[tuple[float, ...], dict[str, int]] = {}
    found = []
    for second, row in enumerate(rates):
        at = tuple(row.tolist())
        if at not in known:
            made = _snapshot(scene, at, fleet, eta=eta)
            known[at] = machines(made, catalog, options, {}, clock=clock).machines
            tell(second)
        found.append(known[at])
    return found


def peak(scene: Scene) -> Floats:
    """What a static plan is made for: the largest seconds of each class but one in a hundred; shape (classes,)."""
    found: Floats = np.quantile(scene.qps, PEAK, axis=0)
    return found


def fixed(
    scene: Scene,
    rates: Floats,
    fleet: Fleet,
    catalog: Catalog,
    *,
    budget_usd_hour: float | None,
    clock: Callable[[], float],
) -> Fixed:
    """The best machines, within a budget if there is one, and lanes on them, for these rates (classes,), for good."""
    options = msgspec.structs.replace(OPTIONS, budget_usd_hour=budget_usd_hour)
    made = _snapshot(scene, tuple(rates.tolist()), fleet, eta={})
    counts = machines(made, catalog, options, {}, clock=clock).machines
    hosts = tuple(
        Host(name=f"{pool}-{n}", pool=pool, cores=fleet.pools[pool].cores, memory_mb=fleet.pools[pool].memory_mb)
        for pool, count in counts.items()
        for n in range(count)
    )
    plan = lanes(msgspec.structs.replace(made, hosts=hosts), catalog, options, clock=clock)
    return Fixed(
        machines=counts,
        lanes={pool: [plan.hosts.get(f"{pool}-{n}", {}) for n in range(count)] for pool, count in counts.items()},
    )


def usd_hour(held: list[dict[str, int]], fleet: Fleet) -> float:
    """The mean over the seconds."""
    return sum(fleet.pools[pool].price_usd_hour * n for each in held for pool, n in each.items()) / max(1, len(held))


def _snapshot(scene: Scene, rates: tuple[float, ...], fleet: Fleet, *, eta: Mapping[str, float]) -> Snapshot:
    return Snapshot(
        made_us=0, hosts=(), eta=dict(eta),
        pools=tuple(
            PoolNow(pool=name, least=pool.least, most=pool.most, alive=0, cores=pool.cores)
            for name, pool in sorted(fleet.pools.items())
        ),
        demands=tuple(
            Demand(klass=class_of(ask.requirements), near=rate, far=rate, measured=rate)
            for ask, rate in zip(scene.asks, rates, strict=True) if not ask.offline
        ),
    )  # fmt: skip


def _grained(rates: Floats) -> Floats:
    """Rounded up to powers of 1 + GRAIN, so that there are few different ones."""
    step = np.log1p(GRAIN)
    found: Floats = np.where(rates > 0, np.exp(np.ceil(np.log(np.maximum(rates, 1e-6)) / step) * step), 0.0)
    return found
