"""What a fleet file registers: tasks, models without files, pools, and emulated variants with their profiles."""

from __future__ import annotations

from headrace.fleet_parts import CurvePart, Fleet, VariantPart
from registry.catalog import Catalog
from registry.latency import Point
from registry.records import EMULATED, Accuracy, Model, Pool, Profile, Record, Step, Task, Variant

VERSION = "1"


def records_of(fleet: Fleet) -> list[Record]:
    """Pools, tasks, models, variants and profiles, to be published as one."""
    made: list[Record] = [
        Pool(name=name, hardware=pool.hardware, cores=pool.cores, price_usd_hour=pool.price_usd_hour)
        for name, pool in fleet.pools.items()
    ]
    for name in sorted({model.task for model in fleet.models.values()}):
        task = fleet.tasks.get(name)
        made.append(
            Task(name=name)
            if task is None
            else Task(name=name, slo_ms_default=task.slo_ms_default, description=task.description)
        )
    for name, model in fleet.models.items():
        made.append(
            Model(
                name=name, task=model.task, version=VERSION, accuracy=_accuracy(fleet, model.accuracy), input_name="x",
                input_shape=model.input_shape, input_dtype="float32", output_name="y", preprocess=Step(name="tensor"),
                postprocess=Step(name="top-k", params={"k": 1}), labels=(EMULATED,),
            )
        )  # fmt: skip
        for variant_name, part in zip(model.names(name), model.variants, strict=True):
            made += _variant(fleet, name, variant_name, part)
    return made


def catalog_of(fleet: Fleet) -> Catalog:
    """What a registry holds that has these records and no others."""
    made = Catalog()
    for record in records_of(fleet):
        made.add(record)
    return made


def _variant(fleet: Fleet, model: str, name: str, part: VariantPart) -> list[Record]:
    pool = fleet.pools[part.pool]
    curve = fleet.curves.get(part.curve)
    return [
        Variant(
            name=name, model=model, version=VERSION, framework=EMULATED, hardware=pool.hardware,
            precision=part.precision, width=part.width, batch_max=part.batch_max,
            accuracy=None if part.accuracy is None else _accuracy(fleet, part.accuracy),
        ),
        Profile(
            variant=name, pool=part.pool, machine=EMULATED, load_us=round(part.load_s * 1e6),
            points=_rows(part) if curve is None else _line(curve, part.batch_max),
            memory_bytes=part.memory_mb * 1_000_000, lanes=pool.cores // part.width,
        ),
    ]  # fmt: skip


def _accuracy(fleet: Fleet, value: float) -> Accuracy:
    return Accuracy(value=value, provenance="published", source=f"emulated: {fleet.source}")


def _rows(part: VariantPart) -> tuple[Point, ...]:
    return tuple(_point(batch, p50_ms * 1_000, p99_ms * 1_000) for batch, p50_ms, p99_ms in part.latency_ms)


def _line(curve: CurvePart, batch_max: int) -> tuple[Point, ...]:
    """Its two ends: between them a profile is linear as well."""
    at = [(batch, curve.fixed_us + curve.per_item_us * batch) for batch in sorted({1, batch_max})]
    return tuple(_point(batch, p50_us, p50_us * curve.spread) for batch, p50_us in at)


def _point(batch: int, p50_us: float, p99_us: float) -> Point:
    return Point(batch=batch, p50_us=max(1, round(p50_us)), p99_us=max(1, round(p99_us)), provenance="predicted")
