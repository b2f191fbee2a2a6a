"""Builders of registry records for the tests of this folder."""

from __future__ import annotations

from registry.latency import Point
from registry.records import Accuracy, Model, Pool, Profile, Record, Release, Step, Task, Variant

NONE = Step(name="none")


def model(name: str = "m", version: str = "1", *, accuracy: float = 0.9, n: int = 0) -> Model:
    return Model(
        name=name, task="t", version=version, accuracy=Accuracy(value=accuracy, provenance="measured", n=n),
        input_name="x", input_shape=(1,), input_dtype="float32", output_name="y", preprocess=NONE, postprocess=NONE,
    )  # fmt: skip


def variant(name: str = "m/stub", of: str = "m", version: str = "") -> Variant:
    return Variant(name=name, model=of, framework="stub", version=version)


def profile(variant: str = "m/stub", *, pool: str = "cpu", ms: float = 10.0) -> Profile:
    point = Point(batch=1, p50_us=round(ms * 1_000), p99_us=round(ms * 1_000))
    return Profile(variant=variant, pool=pool, machine="test", points=(point,))


def release(number: int, identity: str = "a", *, of: str = "m", **state: object) -> Release:
    return Release(model=of, number=number, id=identity, **state)  # type: ignore[arg-type]


def two_versions() -> list[Record]:
    """Model `m` of task `t` in the versions 1 (12 ms) and 2 (6 ms), each with one variant on pool `cpu`."""
    return [
        Task(name="t"), Pool(name="cpu", price_usd_hour=0.36),
        model(version="1"), variant("m1", version="1"), profile("m1", ms=12),
        model(version="2", accuracy=0.92), variant("m2", version="2"), profile("m2", ms=6),
    ]  # fmt: skip
