"""A latency curve as somebody else measured it, and how a set of them becomes registry records.

Whatever the table, a reader turns it into curves; planner, simulator and selection read the catalogue that they make.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from registry.catalog import Catalog
from registry.latency import Point
from registry.records import Accuracy, Artifact, Hardware, Model, Pool, Profile, Record, Step, Task, Variant

FLAT = Step(name="none")


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of machine: a pool. Units: `usd_hour` for all of its `lanes` (cores, or device partitions)."""

    pool: str
    hardware: Hardware
    lanes: int = 1
    usd_hour: float = 0.0


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One architecture on one kind of machine.

    Units: `accuracy` 0 to 1 as published, None if the table has none; `load_ms` 0 if it was not given; `width` lanes.
    """

    architecture: str
    task: str
    device: Device
    points: tuple[Point, ...]
    source: str
    accuracy: float | None = None
    width: int = 1
    precision: str = "fp32"
    batch_max: int = 0  # the table's largest, unless given
    label: str = ""  # tells apart what differs in nothing else
    load_ms: float = 0.0
    memory_bytes: int = 0
    remarks: str = ""

    @property
    def variant(self) -> str:
        words = (self.architecture, self.device.pool, self.precision, f"w{self.width}", self.label)
        return "/".join(slug(word) for word in words if word)


def slug(text: str) -> str:
    """A name that the registry takes: lower case, other characters than letters, digits, dot and dash as one dash."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-") or "x"


def records(curves: Iterable[Curve]) -> list[Record]:
    """Tasks, pools, models, variants and profiles, each once; nothing of it can be loaded, for there are no weights.

    A variant's accuracy is `published` with its source; one that the table lacks counts as 0, so that no query with
    a floor is ever sent there.
    Raises: ValueError if two curves would be the same variant on the same pool.
    """
    made: dict[str, Record] = {}
    for curve in curves:
        name, model = curve.variant, slug(curve.architecture)
        accuracy = Accuracy(value=curve.accuracy or 0.0, provenance="published", source=curve.source)
        batch_max = curve.batch_max or curve.points[-1].batch
        profile = Profile(
            variant=name, pool=curve.device.pool, machine=f"published:{curve.source}", points=curve.points,
            load_us=round(curve.load_ms * 1_000), memory_bytes=curve.memory_bytes,
        )  # fmt: skip
        if profile.key in made:
            raise ValueError(f"{profile.key} stands twice: {curve.source}")
        made.setdefault(f"task:{curve.task}", Task(name=curve.task))
        made.setdefault(f"pool:{curve.device.pool}", pool_of(curve.device))
        made.setdefault(f"model:{model}", _model(model, curve.task, accuracy, curve.points))
        made[f"variant:{name}"] = Variant(
            name=name, model=model, framework="stub", hardware=curve.device.hardware, precision=curve.precision,
            width=curve.width, batch_max=batch_max, accuracy=accuracy,
        )  # fmt: skip
        made[profile.key] = profile
    return list(made.values())


def pool_of(device: Device) -> Pool:
    return Pool(name=device.pool, hardware=device.hardware, cores=device.lanes, price_usd_hour=device.usd_hour)


def catalogue(made: Iterable[Record]) -> Catalog:
    """The catalogue that planner and simulator read."""
    catalog = Catalog()
    for record in made:
        catalog.add(record)
    return catalog


def points(latency_ms: Sequence[tuple[int, float, float]]) -> tuple[Point, ...]:
    """Points of (batch, p50 ms, p99 ms), sorted; a p99 below its p50 is the p50."""
    return tuple(
        Point(batch=batch, p50_us=max(1, round(p50 * 1_000)), p99_us=max(1, round(max(p50, p99) * 1_000)))
        for batch, p50, p99 in sorted(latency_ms)
    )


def _model(name: str, task: str, accuracy: Accuracy, curve: Sequence[Point]) -> Model:
    first, last = curve[0], curve[-1]
    per_item = (last.p50_us - first.p50_us) / max(1, last.batch - first.batch)
    fixed = max(0.0, first.p50_us - per_item * first.batch)
    return Model(
        name=name, task=task, version="1", accuracy=accuracy, input_name="x", input_shape=(4,), input_dtype="float32",
        output_name="y", preprocess=FLAT, postprocess=FLAT,
        artifacts={"stub": Artifact(path=f"stub:{fixed:g}:{max(0.0, per_item):g}", sha256="")},
    )  # fmt: skip
