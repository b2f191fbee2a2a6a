"""CPU of one decision over 270 variants of 44 architectures, with 20 and with 1,000 executors, and how good it is.

Router, fleet and clock are simulated around the selector that ships: executors drain as the router believes they do,
report each 100 ms, and what they report is read between decisions (counted apart, in `us_per_telemetry_*`). Beside
the clock, every `CHECK_EVERY`-th block is decided again by a search over all variants and all executors: with the rule
that all but the quickest variant need time for a full block (`optimal_share`), and without (`optimal_any_share_*`).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from agents.fleet import Fleet
from agents.selection import Chosen, Parked, Refused, Selector
from agents.settings import RouterSettings
from benchmarks.exhaustive import best, same
from benchmarks.report import machine
from registry.catalog import Catalog
from registry.scale import invented, scale
from registry.tables.curve import Curve, catalogue
from registry.tables.read import found, read
from streams.clock import NEVER
from streams.contract import OnMiss, TargetKind
from streams.query import Query, Requirements
from streams.records import LaneReport, Telemetry

T0_US = 1_700_000_000_000_000
HEARTBEAT_US = 100_000
POOL_SHARES = (("cpu", 0.6), ("gpu", 0.2), ("inf1", 0.1), ("inf2", 0.1))
RESIDENT = 12  # variants an executor holds
RESERVE_US = 3_000
CLASSES = 400  # different sets of requirements
QPS_A_EXECUTOR = 60.0
OVERLOAD = 20.0  # times that: half of the queries must be refused
DECISIONS, CHECK_EVERY, BLOCK = 60_000, 15, 50
TABLES_ENV = "HEADRACE_TABLES"  # a folder of profile tables; without it the architectures are invented


class Settings(NamedTuple):
    """What selection reads of the router's settings."""

    policy: str = RouterSettings().policy
    reply_reserve_ms: float = RESERVE_US / 1_000
    live_correction: bool = True


def run(
    executors: int, *, decisions: int = DECISIONS, load: float = 1.0, seed: int = 1, base: list[Curve] | None = None
) -> dict[str, Any]:
    """One fleet. Returns: µs a decision (refreshes included), µs a telemetry record, and the optimal share."""
    rng = np.random.default_rng(seed)
    made = catalogue(scale(base or invented(), seed=seed))
    fleet = Fleet(router="bench")
    selector = Selector(made, fleet, settings=Settings(), rng=rng)  # type: ignore[arg-type]
    selector.refresh(now_us=T0_US)
    world = World(made, fleet, executors, rng)
    asked, offers = classes(made, rng), made.offers()
    gap_us = 1e6 / (load * QPS_A_EXECUTOR * executors)
    spent_ns, checked, equal, equal_any, outcomes = 0, 0, 0, 0, dict.fromkeys(("chosen", "refused", "parked"), 0)
    now_us, done = float(T0_US), 0
    picks = rng.integers(0, len(asked), decisions).tolist()
    while done < decisions:
        world.report(int(now_us))
        block = [
            _query(asked[pick], int(now_us + i * gap_us)) for i, pick in enumerate(picks[done : done + BLOCK])
        ]  # fmt: skip
        if done and done // BLOCK % CHECK_EVERY == 0:
            for query in block:
                now = query.arrived_us
                wanted = best(offers, fleet, query, reserve_us=RESERVE_US, now_us=now, block_us=selector.block_us)
                of_any = best(offers, fleet, query, reserve_us=RESERVE_US, now_us=now)
                got = selector.select(query, now_us=now)
                checked += 1
                equal += same(got, wanted)
                equal_any += same(got, of_any)
        else:
            begun_ns = time.thread_time_ns()
            answers = [selector.select(query, now_us=query.arrived_us) for query in block]
            spent_ns += time.thread_time_ns() - begun_ns
            for answer in answers:
                outcomes[_kind(answer)] += 1
        done += len(block)
        now_us += len(block) * gap_us
    timed = sum(outcomes.values())
    return {
        "us_per_decision": spent_ns / 1_000 / timed,
        "us_per_telemetry": world.spent_ns / 1_000 / max(1, world.reports),
        "optimal_share": equal / max(1, checked),
        "optimal_any_share": equal_any / max(1, checked),
        "checked": checked,
        **{f"{name}_share": count / timed for name, count in outcomes.items()},
    }


class World:
    """Executors that are what the router believes of them, and say so every 100 ms."""

    def __init__(self, made: Catalog, fleet: Fleet, executors: int, rng: np.random.Generator) -> None:
        self.spent_ns = self.reports = 0
        self._fleet = fleet
        by_pool: dict[str, list[str]] = {}
        for offer in made.offers():
            by_pool.setdefault(offer.pool, []).append(offer.variant)
        self._members: list[tuple[str, str, tuple[str, ...], int]] = []
        pools = [pool for pool, share in POOL_SHARES for _ in range(round(share * executors)) if pool in by_pool]
        for n, pool in enumerate(pools):
            held = rng.choice(by_pool[pool], min(RESIDENT, len(by_pool[pool])), replace=False)
            self._members.append((f"e{n:04d}", pool, tuple(map(str, held)), made.pools[pool].cores))
        self._next_us = [T0_US + round(HEARTBEAT_US * n / len(self._members)) for n in range(len(self._members))]
        for n in range(len(self._members)):
            fleet.heard(self._telemetry(n, T0_US), now_us=T0_US)

    def report(self, now_us: int) -> None:
        due = [n for n, at_us in enumerate(self._next_us) if at_us <= now_us]
        told = [self._telemetry(n, now_us) for n in due]
        begun_ns = time.thread_time_ns()
        for telemetry in told:
            self._fleet.heard(telemetry, now_us=now_us)
        self.spent_ns += time.thread_time_ns() - begun_ns
        self.reports += len(due)
        for n in due:
            self._next_us[n] += HEARTBEAT_US

    def _telemetry(self, n: int, now_us: int) -> Telemetry:
        name, pool, held, cores = self._members[n]
        lanes = [self._fleet.lane(name, variant) for variant in held]
        known = next((lane.executor for lane in lanes if lane is not None), None)
        if known is not None:
            known.advance(now_us)
        return Telemetry(
            executor=name, pool=pool, slots=(n,), cores=cores, sent_us=now_us,
            busy_us=max(0, known.busy_until_us - now_us) if known is not None else 0,
            lanes=tuple(
                LaneReport(variant=variant, queued=0 if lane is None else lane.queued)
                for variant, lane in zip(held, lanes, strict=True)
            ),
            received={"bench": now_us + 10**12},
        )  # fmt: skip


def classes(made: Catalog, rng: np.random.Generator) -> list[Requirements]:
    """What is asked: mostly tasks, a fifth models, a tenth variants; SLOs 20 ms to 1 s; all kinds of floors."""
    tasks, models, variants = sorted(made.tasks), sorted(made.models), sorted(made.variants)
    asked = []
    for _ in range(CLASSES):
        kind = rng.choice(list(TargetKind), p=(0.7, 0.2, 0.1))
        targets = {TargetKind.TASK: tasks, TargetKind.MODEL: models, TargetKind.VARIANT: variants}[TargetKind(kind)]
        asked.append(
            Requirements(
                kind=TargetKind(kind), target=str(rng.choice(targets)),
                slo_us=None if rng.random() < 0.1 else round(float(np.exp(rng.uniform(np.log(20e3), np.log(1e6))))),
                accuracy_min=float(rng.choice([0.0, 0.6, 0.7, 0.8])),
                on_miss=OnMiss(rng.choice(list(OnMiss), p=(0.8, 0.1, 0.1))),
            )
        )  # fmt: skip
    return asked


def tables() -> list[Curve] | None:
    """The curves of the folder that the environment names, else None."""
    folder = os.environ.get(TABLES_ENV)
    return list(read(found(Path(folder))).curves) if folder else None


def figures(*, decisions: int = DECISIONS) -> dict[str, Any]:
    base = tables()
    small, large = (run(executors, decisions=decisions, base=base) for executors in (20, 1_000))
    flood = run(20, decisions=decisions, load=OVERLOAD, base=base)
    found: dict[str, Any] = {"variants": 270, "architectures": 44, "base": "tables" if base else "invented"}
    for count, row in ((20, small), (1_000, large)):
        found |= {f"us_per_{what}_{count}": round(row[f"us_per_{what}"], 2) for what in ("decision", "telemetry")}
        found |= {
            f"{what}_share_{count}": round(row[f"{what}_share"], 4)
            for what in ("chosen", "refused", "optimal", "optimal_any")
        }
    checked = small["checked"] + large["checked"]
    found["optimal_share"] = round(
        sum(row["optimal_share"] * row["checked"] for row in (small, large)) / checked, 4
    )  # fmt: skip
    found["us_per_decision_overload"] = round(flood["us_per_decision"], 2)
    found["optimal_share_overload"] = round(flood["optimal_share"], 4)
    return {**found, "checked": checked, "decisions": 2 * decisions}


def main(*, as_json: bool) -> None:
    found = figures()
    if as_json:
        print(json.dumps({"benchmark": "selection", **found, "machine": machine()}), flush=True)
        return
    table = Table("figure", "value", title="selection")
    for name, value in found.items():
        table.add_row(name, str(value))
    Console().print(table)


def _query(asked: Requirements, now_us: int) -> Query:
    deadline_us = int(NEVER) if asked.slo_us is None else now_us + asked.slo_us
    return Query("q", False, asked, now_us, deadline_us)


def _kind(answer: Chosen | Refused | Parked) -> str:
    return type(answer).__name__.lower()
