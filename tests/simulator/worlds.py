"""A small fleet and its loads, for tests of the second world."""

from __future__ import annotations

import numpy as np

from registry.catalog import Catalog
from registry.latency import Point
from registry.records import EMULATED, Accuracy, Model, Pool, Profile, Step, Task, Variant
from simulator.loads import Ask, Scene
from simulator.steward import Site

ASK = Ask(task="t", slo_ms=300.0)
SITE = Site(name="cpu", cores=2, price_usd_hour=0.1, least=1, most=6, first=2, boot_s=2.0)
QUICK, GOOD = "quick/v", "good/v"


def catalog() -> Catalog:
    """Two models of one task: 10 ms and .7, 30 ms and .8 for one query, batches of up to 8."""
    found = Catalog()
    found.add(Task(name="t"))
    found.add(Pool(name="cpu", cores=2, price_usd_hour=0.1))
    for name, accuracy, ms in ((QUICK, 0.7, 10.0), (GOOD, 0.8, 30.0)):
        model = name.partition("/")[0]
        found.add(
            Model(
                name=model, task="t", version="1", accuracy=Accuracy(value=accuracy, provenance="published"),
                input_name="x", input_shape=(4,), input_dtype="float32", output_name="y",
                preprocess=Step(name="tensor"), postprocess=Step(name="top-k"), labels=("a",),
            )
        )  # fmt: skip
        found.add(Variant(name=name, model=model, framework="emulated", batch_max=8))
        points = tuple(
            Point(batch=b, p50_us=round(ms * 500 * (1 + b)), p99_us=round(ms * 550 * (1 + b))) for b in (1, 8)
        )
        found.add(Profile(variant=name, pool="cpu", machine=EMULATED, points=points, load_us=500_000))
    return found


def steady(qps: float, seconds: int, *, ask: Ask = ASK) -> Scene:
    return Scene("steady", (ask,), np.full((seconds, 1), qps))


def step(low: float, high: float, seconds: int) -> Scene:
    """From one second to the next, in the middle."""
    qps = np.where(np.arange(seconds) < seconds // 2, low, high)
    return Scene("step", (ASK,), qps[:, None].astype(np.float64))
