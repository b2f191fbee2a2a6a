"""Builders of catalogues, fleets and queries for the router's tests."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np

from agents.fleet import Fleet
from agents.selection import Chosen, Parked, Refused, Selector
from registry.catalog import Catalog
from registry.latency import Point
from registry.records import Accuracy, Hardware, Model, Pool, Profile, Step, Task, Variant
from streams.clock import NEVER
from streams.contract import OnMiss, TargetKind
from streams.query import Query, Requirements
from streams.records import LaneReport, Telemetry

T0 = 1_700_000_000_000_000  # a moment, in microseconds
ROUTER = "r1"
MS = 1_000

# l(1) is 12 ms for `good`, 6 ms for `fair`, 2 ms for `poor`.
MENU = (("good", 0.99, 10, 2), ("fair", 0.95, 5, 1), ("poor", 0.90, 1.5, 0.5))
EVERY = ("good", "fair", "poor")


class Settings(msgspec.Struct, frozen=True):
    policy: Literal["blocks", "round-robin", "random"] = "blocks"
    reply_reserve_ms: float = 3.0
    live_correction: bool = True


def catalog(
    *variants: tuple[str, float, float, float], pool: str = "cpu", slo_ms_default: float | None = None
) -> Catalog:
    """A catalogue of one task `t`; each variant is (name, accuracy, fixed ms, ms per item), its model `m-<name>`."""
    made = Catalog()
    made.add(Task(name="t", slo_ms_default=slo_ms_default))
    add_pool(made, pool)
    for name, accuracy, fixed_ms, item_ms in variants:
        add_variant(made, name, accuracy=accuracy, fixed_ms=fixed_ms, item_ms=item_ms, pool=pool)
    return made


def add_pool(made: Catalog, pool: str, *, hardware: Hardware = "cpu", usd_hour: float = 0.36) -> None:
    made.add(Pool(name=pool, hardware=hardware, cores=1, price_usd_hour=usd_hour))


def add_variant(
    made: Catalog,
    name: str,
    *,
    accuracy: float,
    fixed_ms: float,
    item_ms: float,
    pool: str = "cpu",
    batch_max: int = 32,
) -> None:
    """A model, a variant and its profile; a second pool of the same variant only adds the profile."""
    step = Step(name="none")
    made.add(
        Model(
            name=f"m-{name}", task="t", version="1", accuracy=Accuracy(value=accuracy, provenance="measured"),
            input_name="x", input_shape=(1,), input_dtype="float32", output_name="y", preprocess=step, postprocess=step,
        )
    )  # fmt: skip
    made.add(Variant(name=name, model=f"m-{name}", framework="stub", batch_max=batch_max))
    ends = [(b, round((fixed_ms + item_ms * b) * MS)) for b in (1, batch_max)]
    points = tuple(Point(batch=b, p50_us=us, p99_us=us) for b, us in ends)
    made.add(Profile(variant=name, pool=pool, machine="test", points=points))


def selector(made: Catalog, fleet: Fleet, policy: Literal["blocks", "round-robin", "random"] = "blocks") -> Selector:
    """A selector that has read the catalogue, so that the fleet knows the curves of what it hears next."""
    ready = Selector(made, fleet, settings=Settings(policy), rng=np.random.default_rng(7))
    ready.refresh(now_us=T0)
    return ready


def router(made: Catalog | None = None) -> tuple[Selector, Fleet]:
    fleet = Fleet(router=ROUTER)
    return selector(made or catalog(*MENU), fleet), fleet


def served(got: Chosen | Refused | Parked) -> str:
    """The variant of a choice."""
    assert isinstance(got, Chosen), got
    return got.offer.variant


def refusal(got: Chosen | Refused | Parked) -> tuple[str, str]:
    """Code and message of a refusal."""
    assert isinstance(got, Refused), got
    return got.error.code, got.error.message


def telemetry(
    executor: str,
    *variants: str,
    pool: str = "cpu",
    busy_ms: float = 0.0,
    queued: int = 0,
    received: int = 0,
    slots: tuple[int, ...] | None = None,
    state: Literal["starting", "ready", "draining", "gone"] = "ready",
    drift: float = 1.0,
    cores: int = 1,
    **first: Any,
) -> Telemetry:
    """What an executor says; `queued` and what else is given are of its first variant."""
    lanes = tuple(
        LaneReport(variant=name, drift=drift, **({"queued": queued, **first} if index == 0 else {}))
        for index, name in enumerate(variants)
    )
    return Telemetry(
        executor=executor, pool=pool, slots=(0,) if slots is None else slots, cores=cores, busy_us=round(busy_ms * MS),
        lanes=lanes, received={ROUTER: received} if received else {}, state=state,
    )  # fmt: skip


def requirements(
    target: str = "t",
    *,
    kind: TargetKind = TargetKind.TASK,
    slo_ms: float | None = None,
    accuracy_min: float = 0.0,
    cost_max: float | None = None,
    priority: int = 5,
    on_miss: OnMiss = OnMiss.REJECT,
    content_type: str | None = None,
) -> Requirements:
    return Requirements(
        kind=kind, target=target, slo_us=None if slo_ms is None else round(slo_ms * MS), accuracy_min=accuracy_min,
        cost_max=cost_max, priority=priority, on_miss=on_miss, content_type=content_type,
    )  # fmt: skip


def query(asked: Requirements, *, arrived_us: int = T0, deadline_us: int | None = None) -> Query:
    if deadline_us is None:
        deadline_us = int(NEVER) if asked.slo_us is None else arrived_us + asked.slo_us
    return Query(query_id="q", id_given=False, requirements=asked, arrived_us=arrived_us, deadline_us=deadline_us)
