"""What is still answered in time beyond capacity, with a real model, with and without the window drop.

One executor with one core runs an image classifier on onnxruntime. Its capacity is measured first, by keeping more
queries in flight than it can take; the SLO is five times the latency of a single query.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks.load import Answers, Load, QueryMaker, Sent, tally
from benchmarks.report import report
from benchmarks.system import System
from registry.records import Pool, Record, Task, Variant
from streams.clock import wall_us
from streams.settings import KafkaSettings

SINGLES = 40
CAPACITY_S, TRIAL_S, SETTLE_S = 8.0, 15.0, 3.0
IN_FLIGHT = 128
SLO_FACTOR = 5.0
MODEL, BATCH_MAX = "efficientnet-lite0", 8
PHOTOGRAPH = (320, 213)  # pixels: scikit-learn's two, halved


def run(
    kafka: KafkaSettings, records: Iterable[Record], query: QueryMaker, *, trial_s: float = TRIAL_S
) -> dict[str, Any]:
    """`query` makes queries without a deadline; the SLO is added here."""
    kafka = kafka.model_copy(update={"prefix": f"bench-overload-{wall_us():x}."})
    with System(kafka, records) as system:
        system.start("router-0")
        system.start("executor-0", cores=1)
        system.wait_ready(1, query)
        single_ms = _single_ms(kafka, query)
        slo_ms = SLO_FACTOR * single_ms
        capacity = _capacity_qps(kafka, query)
        figures: dict[str, Any] = {
            "single_ms": round(single_ms, 2), "slo_ms": round(slo_ms, 1), "capacity_qps": round(capacity, 1),
        }  # fmt: skip
        for percent in (130, 200):
            share, outcomes = _share(kafka, query, capacity * percent / 100, slo_ms, trial_s)
            figures[f"in_time_share_{percent}"], figures[f"outcomes_{percent}"] = share, outcomes
        system.term("executor-0")
        system.start("executor-0", cores=1, window_drop=False)
        system.wait_ready(1, query)
        figures["in_time_share_130_no_drop"], _ = _share(kafka, query, capacity * 1.3, slo_ms, trial_s)
    return figures


def _single_ms(kafka: KafkaSettings, query: QueryMaker) -> float:
    answers = Answers(kafka)
    load = Load(kafka, query, reply_partition=0)
    took: list[float] = []
    try:
        for _ in range(SINGLES):
            at_us: dict[str, int] = {}
            name = load.one(at_us)
            load.flush()
            if answers.wait_for([name], 5.0):
                raise RuntimeError("a single query was not answered within 5 s")
            took.append((answers.by_id[name][0].at_us - at_us[name]) / 1_000)
        return float(np.median(took))
    finally:
        answers.stop()


def _capacity_qps(kafka: KafkaSettings, query: QueryMaker) -> float:
    """Closed loop with IN_FLIGHT queries: answers a second after a quarter of the time."""
    answers = Answers(kafka)
    load = Load(kafka, query, reply_partition=0)
    at_us: dict[str, int] = {}
    start, counted, from_s = time.monotonic(), 0, 0.0
    try:
        while (now := time.monotonic()) < start + CAPACITY_S:
            while len(at_us) - answers.count < IN_FLIGHT:
                load.one(at_us)
            load.flush()
            if not from_s and now > start + CAPACITY_S / 4:
                counted, from_s = answers.count, now
            time.sleep(0.002)
        rate = (answers.count - counted) / (time.monotonic() - from_s)
        answers.wait_for(list(at_us), 10.0)
        return rate
    finally:
        answers.stop()


def _share(
    kafka: KafkaSettings, query: QueryMaker, rate_qps: float, slo_ms: float, seconds: float
) -> tuple[float, dict[str, int]]:
    def with_slo(n: int) -> tuple[bytes, list[tuple[str, str | bytes]]]:
        value, headers = query(n)
        return value, [*headers, ("slo-ms", f"{slo_ms:.3f}")]

    answers = Answers(kafka)
    try:
        sent: Sent = Load(kafka, with_slo, reply_partition=0).send(rate_qps=rate_qps, seconds=seconds)
        answers.wait_for(list(sent.at_us), 10.0)
        time.sleep(SETTLE_S)
        counted = tally(sent, answers, slo_ms=slo_ms)
        return round(counted.in_time / counted.sent, 3), counted.outcomes
    finally:
        answers.stop()


def main(*, as_json: bool) -> None:
    report("overload", lambda kafka, _broker: run(kafka, *images()), as_json=as_json)


def images() -> tuple[list[Record], QueryMaker]:
    """EfficientNet-Lite 0 on onnxruntime, and photographs of a size that it needs; builds the model if need be.

    A model of tens of milliseconds, so that its lane is the bottleneck: broker, router, load and executor share the
    cores of one machine, and a classifier of digits saturates them before itself.
    """
    from examples.images.build import build
    from examples.store import default_out

    model = next(artifact.model for artifact in build(default_out()) if artifact.model.name == MODEL)
    payloads = [_jpeg(photograph) for photograph in load_sample_images().images]
    records: list[Record] = [
        Task(name=model.task, accepts=("image/jpeg",)),
        Pool(name="cpu", cores=1, price_usd_hour=0.1),
        model,
        Variant(name=f"{MODEL}/onnxruntime", model=MODEL, framework="onnxruntime", batch_max=BATCH_MAX),
    ]

    def query(n: int) -> tuple[bytes, list[tuple[str, str | bytes]]]:
        return payloads[n % len(payloads)], [("task", model.task), ("content-type", "image/jpeg")]

    return records, query


def _jpeg(photograph: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(photograph).resize(PHOTOGRAPH).save(out, "JPEG", quality=90)
    return out.getvalue()
