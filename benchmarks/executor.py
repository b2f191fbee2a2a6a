"""CPU per query of an executor beyond its backend's own, Kafka in and out included, beside a bare loop.

Dispatches are written straight to the executor's slot, so that no router takes part. The stub sleeps 0.1 ms a query,
which lets the queue fill batches to their cap. `cpu_us_*` is the executor process's whole CPU divided by the queries,
`backend_us_*` what the stub takes of it (measured alone), `overhead_us_*` the rest; `mean_batch_*` is what they ran in.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from confluent_kafka import Producer

from benchmarks.contestants import WARM
from benchmarks.load import Answers
from benchmarks.report import report
from benchmarks.router import child
from benchmarks.stubs import stub_task
from benchmarks.system import System
from executors.backends.stub import Stub
from streams.clock import NEVER, wall_us
from streams.contract import INTERNAL
from streams.payloads import encode_npy
from streams.records import Dispatch, encode
from streams.settings import KafkaSettings
from streams.topics import create

QUERIES = 20_000
SLEEP_MS = 0.1  # a query
BATCHES = (1, 8, 32)
VALUE = encode_npy(np.zeros(4, dtype=np.float32))
ALONE = 300  # runs of the stub by itself
WAIT_S = 60.0


def run(kafka: KafkaSettings, *, queries: int = QUERIES) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for batch in BATCHES:
        cpu_us, mean_batch = _measure(kafka, batch, queries)
        backend_us = _backend_us(batch)
        figures[f"cpu_us_b{batch}"], figures[f"mean_batch_b{batch}"] = round(cpu_us, 1), round(mean_batch, 1)
        figures[f"backend_us_b{batch}"] = round(backend_us, 1)
        figures[f"overhead_us_b{batch}"] = round(cpu_us - backend_us, 1)
    bare = kafka.model_copy(update={"prefix": f"bench-bare-{wall_us():x}."})
    create(bare)
    _fill_queries(bare, 3 * queries)
    figures["raw_us"] = round(child("raw", bare, 3 * queries)["cpu_us"], 1)
    return figures


def _backend_us(batch: int) -> float:
    """CPU of the stub's own run, sleep and output, per query."""
    stub = Stub(fixed_us=SLEEP_MS * batch * 1_000, outputs=2)
    items = np.zeros((batch, 4), dtype=np.float32)
    start = time.thread_time()
    for _ in range(ALONE):
        stub.run(items)
    return (time.thread_time() - start) / (ALONE * batch) * 1e6


def _measure(kafka: KafkaSettings, batch: int, queries: int) -> tuple[float, float]:
    own = kafka.model_copy(update={"prefix": f"bench-executor-{batch}-{wall_us():x}.", "slots": 1})
    with System(own, stub_task("noop", fixed_ms=SLEEP_MS * batch, batch_max=batch)) as system:
        system.start("executor-0")
        system.wait_fleet(1, time.monotonic() + WAIT_S)
        answers = Answers(own)
        try:
            _dispatch(own, int(queries * WARM), answers)
            answers.by_id.clear()
            before = system.cpu_s("executor-0")
            _dispatch(own, queries, answers)
            used_s = system.cpu_s("executor-0") - before
            sizes = [got[0].answer.batch for got in answers.by_id.values()]
            return used_s / queries * 1e6, len(sizes) / sum(1 / size for size in sizes)
        finally:
            answers.stop()


def _dispatch(kafka: KafkaSettings, count: int, answers: Answers) -> None:
    """Write dispatches as a router would and wait for their answers."""
    producer = Producer(kafka.producer(**{"linger.ms": 5, "queue.buffering.max.messages": 1_000_000}))
    tag, until = f"{wall_us():x}", answers.count + count
    for n in range(count):
        decision = Dispatch(
            query_id=f"{tag}-{n}", variant="noop-model/stub", deadline_us=int(NEVER), arrived_us=wall_us(),
            reply_topic=kafka.topic("results"), reply_partition=0, router="bench", seq=n,
            content_type="application/x-npy", correlation=n.to_bytes(16, "big"),
        )  # fmt: skip
        headers: list[tuple[str, str | bytes | None]] = [("task", "noop"), (INTERNAL, encode(decision))]
        producer.produce(kafka.topic("work.cpu"), VALUE, partition=0, headers=headers)
        if n % 500 == 0:
            producer.poll(0)
    producer.flush(30)
    end = time.monotonic() + WAIT_S
    while answers.count < until:
        if time.monotonic() > end:
            raise RuntimeError(f"{until - answers.count} of {count} dispatches were not answered within {WAIT_S:g} s")
        time.sleep(0.01)


def _fill_queries(kafka: KafkaSettings, count: int) -> None:
    producer = Producer(kafka.producer(**{"linger.ms": 5, "queue.buffering.max.messages": 1_000_000}))
    headers: list[tuple[str, str | bytes | None]] = [("task", "noop"), ("correlation-id", b"0" * 16), ("x", b"0" * 250)]
    for n in range(count):
        producer.produce(kafka.topic("queries"), VALUE, headers=headers)
        if n % 500 == 0:
            producer.poll(0)
    producer.flush(30)


def main(*, as_json: bool) -> None:
    report("executor", lambda kafka, _broker: run(kafka), as_json=as_json)
