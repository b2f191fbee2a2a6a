"""CPU per query of the router, beside a raw client loop and a stock Faust agent, in one run on one broker.

All three read the same preloaded records of `queries` (1 kB, four headers) and write each to a work topic. The
router parses the headers, selects over 50 variants on 20 executors, and commits what was acknowledged. Each runs as
a process of its own; CPU is the whole process's, librdkafka's threads included, between 10 % and 100 % of the records.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np
from confluent_kafka import Producer

from benchmarks.contestants import MARK
from benchmarks.report import report
from benchmarks.stubs import stub_task
from registry.records import Record
from registry.topic import publish
from streams.clock import wall_us
from streams.records import LaneReport, Telemetry, encode
from streams.settings import KafkaSettings
from streams.topics import create

TASKS, VARIANTS_A_TASK, EXECUTORS = 5, 10, 20
QUERIES = 60_000
QUERIES_STOCK = 4_000  # stock Faust is two orders slower
VALUE = b"x" * 1_000
ROUTER = "router-bench"
ALL_READ_US = 10**12  # sequence numbers start at the clock; so far beyond it, everything sent counts as read
CHILD_S = 120.0


def run(kafka: KafkaSettings, *, queries: int = QUERIES) -> dict[str, Any]:
    """One measurement; the cluster must be empty of queries (a prefix of its own)."""
    kafka = kafka.model_copy(update={"prefix": f"bench-router-{wall_us():x}.", "slots": EXECUTORS})
    create(kafka)
    publish(kafka, catalogue())
    fleet = FakeFleet(kafka)
    preload(kafka, queries)
    try:
        raw = child("raw", kafka, queries)
        router = child("router", kafka, queries)
        raw_again = child("raw", kafka, queries)
        stock = child("stock", kafka, QUERIES_STOCK)
    finally:
        fleet.stop()
    raw_cpu_us = (raw["cpu_us"] + raw_again["cpu_us"]) / 2
    raw_qps = (raw["qps"] + raw_again["qps"]) / 2
    return {
        "cpu_us_per_query": round(router["cpu_us"], 2),
        "queries_per_s": round(router["qps"]),
        "raw_cpu_us": round(raw_cpu_us, 2),
        "raw_queries_per_s": round(raw_qps),
        "stock_faust_cpu_us": round(stock["cpu_us"], 1),
        "ratio_raw": round(router["cpu_us"] / raw_cpu_us, 2),
        "ratio_stock_faust": round(stock["cpu_us"] / router["cpu_us"], 1),
        "ratio_rate_raw": round(router["qps"] / raw_qps, 2),
        "dispatched": router["dispatched"],
        "queries": queries,
    }


def catalogue() -> list[Record]:
    """Five tasks of ten variants each, of rising accuracy and cost; fast enough that load never refuses a query."""
    records: list[Record] = []
    for t in range(TASKS):
        for v in range(VARIANTS_A_TASK):
            records += stub_task(
                f"task-{t}", model=f"model-{t}-{v}", fixed_ms=0.05 + 0.02 * v, per_item_ms=0.002 + 0.001 * v,
                batch_max=64, accuracy=0.70 + 0.029 * v, cores=1,
            )  # fmt: skip
    return records


def preload(kafka: KafkaSettings, queries: int) -> None:
    """Write the records: all tasks, four accuracy floors, an SLO of ten minutes so that age refuses none."""
    producer = Producer(kafka.producer(**{"linger.ms": 20, "queue.buffering.max.messages": 1_000_000}))
    rng = np.random.default_rng(1)
    tasks, floors = rng.integers(0, TASKS, queries), rng.integers(0, 4, queries)
    for n in range(queries):
        producer.produce(
            kafka.topic("queries"), VALUE, headers=[
                ("task", f"task-{tasks[n]}"), ("slo-ms", "600000"), ("accuracy-min", f"{0.7 + 0.05 * floors[n]:.2f}"),
                ("correlation-id", n.to_bytes(16, "big")),
            ],
        )  # fmt: skip
        if n % 1_000 == 0:
            producer.poll(0)
    producer.flush(60)


class FakeFleet(threading.Thread):
    """Telemetry of executors that hold every variant and are always done: the router's view, without executors."""

    def __init__(self, kafka: KafkaSettings) -> None:
        super().__init__(name="fake-fleet", daemon=True)
        self._kafka = kafka
        self._producer = Producer(kafka.producer())
        self._stop_requested = threading.Event()
        self.start()

    def run(self) -> None:
        lanes = tuple(LaneReport(variant=f"model-{t}-{v}/stub") for t in range(TASKS) for v in range(VARIANTS_A_TASK))
        while not self._stop_requested.wait(0.1):
            for e in range(EXECUTORS):
                now_us = wall_us()
                telemetry = Telemetry(
                    executor=f"executor-{e}", pool="cpu", slots=(e,), lanes=lanes, sent_us=now_us,
                    received={ROUTER: now_us + ALL_READ_US},
                )  # fmt: skip
                self._producer.produce(self._kafka.topic("fleet"), encode(telemetry), key=f"executor-{e}")
            self._producer.poll(0)

    def stop(self) -> None:
        self._stop_requested.set()
        self.join(5.0)


def child(kind: str, kafka: KafkaSettings, queries: int) -> dict[str, Any]:
    """Run one contestant as a process; it prints its figures as JSON after a mark."""
    with tempfile.TemporaryDirectory() as nowhere:  # Faust leaves a folder where it runs
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.contestants", kind, json.dumps(kafka.model_dump()), str(queries)],
            cwd=nowhere, capture_output=True, text=True, timeout=CHILD_S, check=False,
        )  # fmt: skip
    if done.returncode != 0 or MARK not in done.stdout:
        raise RuntimeError(f"contestant {kind} failed ({done.returncode}):\n{done.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.rpartition(MARK)[2].splitlines()[0])
    time.sleep(0.5)
    return figures


def main(*, as_json: bool) -> None:
    report("router", lambda kafka, _broker: run(kafka), as_json=as_json)
