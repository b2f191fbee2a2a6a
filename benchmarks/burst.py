"""The steepest minutes of a real trace, live: Headrace beside InfAdapter's loop and a static plan, against an oracle.

The trace's first 14 days at their own rate, the stretch found by rule (simulator.loads.steepest); InfAdapter's
five ResNets at an SLO of 750 ms, emulated on real Kafka; every side has the same router, executors and latencies, so
that what differs is who decides. Ours: machines of two cores that boot, with forecaster, planner and provisioner, and
no history. InfAdapter: its 30 s loop on the largest second of the last ten minutes, new lanes before old ones go, paid
by the core, loading at no cost. Static: the best plan within 1.1 times the oracle's cost, known in hindsight. Oracle:
the fewest dollars by the planner's own weights, who knows the load and gets ready machines as soon as they boot.
One side after the other, an hour in all: at once they would wait for this machine's cores and not for each other's.
HEADRACE_TRACE names the trace if it is elsewhere; HEADRACE_BURST_SECONDS shortens the 20 minutes of a
side, and HEADRACE_BURST_SIDES names some of headrace,static,infadapter.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console

from benchmarks.burst_rival import BUDGET, Rival
from benchmarks.forecast import NOT_HERE, TRACE, TRACE_ENV, found
from benchmarks.planner_exact import RESNETS
from benchmarks.report import report
from forecasting.trace import read
from headrace.explaining.reading import plan
from headrace.fleet_parts import CurvePart, Fleet, ModelPart, PoolPart, TaskPart, VariantPart
from headrace.scenario.play import carry_out, sized
from headrace.scenario.run import Ran, race
from headrace.scenario.side import Side
from simulator.loads import Ask, Scene, of_trace, steepest
from streams.errors import BadSettings
from streams.settings import KafkaSettings

SECONDS, SLO_MS = 1_200, 750.0
SPREAD = 1.1  # p99 over p50: InfAdapter publishes capacities, not curves
LOAD_S = {"resnet18": 0.4, "resnet34": 0.7, "resnet50": 1.0, "resnet101": 1.7, "resnet152": 2.5}  # resident: activation
MACHINE_CORES, CORE_USD_HOUR, BOOT_S = 2, 0.048, 3.0
COST = 1.1
WARM_S, SEED = 20.0, 3
ASKS = (Ask(task="images", slo_ms=SLO_MS),)
OURS, RIVAL, STATIC = SIDES = "headrace", "infadapter", "static"


def fleet(*, cores: int, first: int, most: int, load_s: dict[str, float]) -> Fleet:
    """InfAdapter's ResNets, one core a lane, on machines of so many cores."""
    return Fleet(
        source="InfAdapter, capacity_result_Feb_21.csv",
        pools={
            "cpu": PoolPart(
                cores=cores, price_usd_hour=CORE_USD_HOUR * cores, least=1, most=most, first=first, boot_s=BOOT_S
            )
        },
        tasks={"images": TaskPart(slo_ms_default=SLO_MS)},
        curves={
            name: CurvePart(fixed_us=0.0, per_item_us=1e6 / curve.slope, spread=SPREAD)
            for name, curve in RESNETS.items()
        },
        models={
            name: ModelPart(
                task="images", accuracy=curve.accuracy,
                variants=(VariantPart(pool="cpu", batch_max=8, curve=name, load_s=load_s[name]),),
            )
            for name, curve in RESNETS.items()
        },
    )  # fmt: skip


def scene_of(path: Path, seconds: int) -> tuple[Scene, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """The steepest stretch, and the ten minutes before it."""
    trace = read(path).column(None)
    begin = steepest(trace, seconds)
    scene = of_trace(trace[begin : begin + seconds], ASKS, name=f"seconds {begin} to {begin + seconds} of {path.name}")
    return scene, trace[max(0, begin - 600) : begin]


def run(kafka: KafkaSettings, path: Path, *, seconds: int, sides: Collection[str] = SIDES) -> dict[str, Any]:
    scene, before = scene_of(path, seconds)
    kafka = kafka.model_copy(update={"prefix": f"bench-burst-{time.time_ns():x}."})
    mine = fleet(cores=MACHINE_CORES, first=3, most=BUDGET // MACHINE_CORES, load_s=LOAD_S)
    # A core for each lane that may run while a new set is loaded beside the old one.
    theirs = fleet(cores=2 * BUDGET, first=1, most=1, load_s=dict.fromkeys(LOAD_S, 0.0))
    eta: Mapping[str, float] = {}
    got: dict[str, tuple[Ran, float]] = {}  # by side, with the cores that it paid for
    if OURS in sides:
        with _side(OURS, mine, kafka) as side:
            ran = _race(scene, side)
            eta = plan(side.kafka, None).snapshot.eta
            got[OURS] = ran, ran.scores[OURS].cores
    static, oracle_usd = sized(scene, mine, eta=eta, cost=COST)
    if STATIC in sides:
        with _side(STATIC, mine, kafka) as side:
            carry_out(side, static)
            ran = _race(scene, side)
            got[STATIC] = ran, ran.scores[STATIC].cores
    if RIVAL in sides:
        with _side(RIVAL, theirs, kafka) as side, Rival(side, before) as rival:
            ran = _race(scene, side)
            got[RIVAL] = ran, rival.cores(ran.began_us, seconds)
    oracle_cores = oracle_usd / CORE_USD_HOUR
    found: dict[str, Any] = {}
    for name, (ran, cores) in got.items():
        prefix, score = "" if name == OURS else f"{name}_", ran.scores[name]
        found |= {
            f"{prefix}violations": round(score.violations, 5), f"{prefix}accuracy": round(score.accuracy, 4),
            f"{prefix}cores_ratio_oracle": round(cores / oracle_cores, 3), f"{prefix}cores": round(cores, 2),
            f"{prefix}lost": score.lost,
        }  # fmt: skip
    return {
        **found, "oracle_cores": round(oracle_cores, 2),
        "queries": max(ran.scores[name].queries for name, (ran, _) in got.items()),
        "behind_s": round(max(ran.behind_s for ran, _ in got.values()), 2), "load": scene.name,
    }  # fmt: skip


@contextmanager
def _side(name: str, machines: Fleet, kafka: KafkaSettings) -> Iterator[Side]:
    with (
        tempfile.TemporaryDirectory(prefix="headrace-burst-") as folder,
        Side(name, machines, kafka, Path(folder), control=name == OURS) as side,
    ):
        yield side


def _race(scene: Scene, side: Side) -> Ran:
    race(scene.first(WARM_S), [side], seed=SEED)
    return race(scene, [side], seed=SEED + 1)


def main(*, as_json: bool) -> None:
    path = found()
    if path is None:
        Console(stderr=True).print(f"no trace: {TRACE_ENV} names none, and there is no {TRACE} beside the checkout")
        raise typer.Exit(NOT_HERE)
    seconds = int(os.environ.get("HEADRACE_BURST_SECONDS", SECONDS))
    sides = os.environ.get("HEADRACE_BURST_SIDES", ",".join(SIDES)).split(",")
    if not set(sides) <= set(SIDES):
        raise BadSettings(f"HEADRACE_BURST_SIDES={','.join(sides)}: sides are {', '.join(SIDES)}")
    report("burst", lambda kafka, _broker: run(kafka, path, seconds=seconds, sides=sides), as_json=as_json)
