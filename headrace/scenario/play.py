"""The planner's side and a static one of equal cost, under one load, on emulated machines."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from headrace.fleet_parts import Fleet
from headrace.fleet_records import catalog_of
from headrace.scenario import oracle
from headrace.scenario.run import Ran, race
from headrace.scenario.side import Side, follow
from headrace.stack import NotReady
from simulator.loads import Scene
from streams.broker import LocalBroker
from streams.settings import KafkaSettings

OURS, STATIC = "headrace", "static"
COST = 1.25  # of what the oracle's machines cost: about what a planner that does not know the load comes to
SETTLE_S = 8.0  # of the first second's load before the scene, so that both sides begin warm
ORDERED_S = 60.0
ETA = 0.75  # of a lane's nominal rate: the planner's own first guess


class Played(NamedTuple):
    """A run, what it was sized by, and what one lane carries, for the picture."""

    ran: Ran
    static: oracle.Fixed
    oracle_usd_hour: float
    capacity: dict[tuple[str, str], float]


def sized(
    scene: Scene, fleet: Fleet, *, eta: Mapping[str, float] | None = None, cost: float = COST
) -> tuple[oracle.Fixed, float]:
    """The static side, planned in hindsight for the load's largest seconds, and what an oracle's machines cost.

    eta: what the oracle's lanes deliver, as learnt by who served it. `cost`: of the oracle's, that the static may.
    """
    catalog = catalog_of(fleet)
    held = oracle.needed(scene, scene.qps, fleet, catalog, eta=eta or {}, options=oracle.OPTIONS, clock=time.monotonic)
    usd = oracle.usd_hour(held, fleet)
    peak = oracle.peak(scene)
    return oracle.fixed(scene, peak, fleet, catalog, budget_usd_hour=cost * usd, clock=time.monotonic), usd


def play(
    scene: Scene, fleet: Fleet, *, kafka: KafkaSettings | None, seed: int, tell: Callable[[str], None],
    turn: Callable[[float, Mapping[str, Side]], None],
) -> Played:  # fmt: skip
    """Both sides up, the scene, and down again.

    kafka: an existing cluster; None starts one. `turn`: called some times a second with the seconds since the scene
    began. Raises: NotReady, and what Stack raises.
    """
    static, usd = sized(scene, fleet)
    tell(f"static: {_words(static.machines)}, planned for the peak; an oracle's machines would cost ${usd:.3f} an hour")
    with ExitStack() as opened:
        if kafka is None:
            broker = opened.enter_context(LocalBroker())
            kafka = KafkaSettings(bootstrap=broker.bootstrap)
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="headrace-scenario-")))
        kafka = kafka.model_copy(update={"prefix": f"{kafka.prefix}scenario-{time.time_ns():x}."})
        tell("starting both sides: routers, machines, and a forecaster and a planner for one of them")
        sides = {
            name: opened.enter_context(Side(name, fleet, kafka, folder, control=name == OURS))
            for name in (OURS, STATIC)
        }
        carry_out(sides[STATIC], static)
        warm = scene.first(SETTLE_S)
        race(warm, list(sides.values()), seed=seed)
        tell(f"{scene.name}: {scene.seconds} s, up to {scene.total.max():.0f} queries a second to each side")
        ran = race(scene, list(sides.values()), seed=seed + 1, turn=lambda at_s: turn(at_s, sides))
    return Played(ran, static, usd, lane_qps(scene, fleet))


def carry_out(side: Side, plan: oracle.Fixed) -> None:
    """Order it until it is so. Raises: NotReady after ORDERED_S."""
    end, epoch = time.monotonic() + ORDERED_S, 1
    while not follow(side, plan, epoch=epoch):
        if time.monotonic() > end:
            raise NotReady(f"side {side.name}: its machines do not hold the plan after {ORDERED_S:g} s")
        time.sleep(0.3)
        epoch += 1


def lane_qps(scene: Scene, fleet: Fleet) -> dict[tuple[str, str], float]:
    """Queries a second that one lane of (variant, pool) carries, as the planner first reckons: ETA b / l99(b).

    With the largest batch of which two fit in the shortest deadline of the variant's task.
    """
    slo_us: dict[str, float] = {}
    for ask in scene.asks:
        if ask.slo_ms is not None:
            slo_us[ask.task] = min(ask.slo_ms * 1_000, slo_us.get(ask.task, float("inf")))
    found = {}
    for offer in catalog_of(fleet).offers():
        p99_us = offer.latency.p99_us
        fits = [b for b in range(1, offer.latency.batch_max + 1) if 2 * p99_us[b] <= slo_us.get(offer.task, 0.0)]
        alone = p99_us[1] <= slo_us.get(offer.task, 0.0)
        found[offer.variant, offer.pool] = ETA * max(
            (b * 1e6 / p99_us[b] for b in fits), default=alone * 1e6 / p99_us[1]
        )
    return found


def _words(machines: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {pool}" for pool, count in machines.items() if count) or "no machine"
