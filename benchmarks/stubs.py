"""Registry records of stub tasks: a latency curve that sleeps, for what a benchmark wants to isolate."""

from __future__ import annotations

from executors.backends.stub import stub_artifact
from executors.hardware import machine_kind
from registry.latency import Point
from registry.records import Accuracy, Model, Pool, Profile, Record, Step, Task, Variant

ITEM = (4,)  # floats of one item


def stub_task(
    task: str,
    *,
    fixed_ms: float = 0.0,
    per_item_ms: float = 0.0,
    batch_max: int = 32,
    accuracy: float = 0.9,
    pool: str = "cpu",
    cores: int = 1,
    model: str | None = None,
) -> list[Record]:
    """A task with one model, one variant and its exact profile. Names: `<task>`, `<model>`, `<model>/stub`."""
    model = model or f"{task}-model"
    curve = [(b, round((fixed_ms + per_item_ms * b) * 1_000)) for b in sorted({1, batch_max})]
    return [
        Task(name=task),
        Pool(name=pool, cores=cores, price_usd_hour=0.1),
        Model(
            name=model,
            task=task,
            version="1",
            accuracy=Accuracy(value=accuracy, provenance="published", source="invented for a benchmark"),
            input_name="x",
            input_shape=ITEM,
            input_dtype="float32",
            output_name="y",
            preprocess=Step(name="tensor"),
            postprocess=Step(name="top-k", params={"k": 1}),
            labels=("a", "b"),
            artifacts={"stub": stub_artifact(fixed_us=fixed_ms * 1_000, per_item_us=per_item_ms * 1_000)},
        ),
        Variant(name=f"{model}/stub", model=model, framework="stub", batch_max=batch_max),
        Profile(
            variant=f"{model}/stub",
            pool=pool,
            machine=machine_kind(),
            points=tuple(Point(batch=b, p50_us=max(1, us), p99_us=max(1, us)) for b, us in curve),
        ),
    ]
