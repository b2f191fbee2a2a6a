"""Latency of the whole path beside a raw three-hop echo, at 200 and 1,000 queries/s, in one run.

Both carry the same records client -> a -> b -> client on the same topics' shapes: ours through router and executor
with a no-op model, the echo through two threads' worth of consume-produce loops. Segments of the two alternate, so
that a noisy machine hits both.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.load import Answers, Load, tally
from benchmarks.report import report
from benchmarks.stubs import stub_task
from benchmarks.system import System
from streams.clock import wall_us
from streams.payloads import encode_npy
from streams.settings import KafkaSettings
from streams.topics import create
from streams.watermark import end_offset

RATES_QPS = (200, 1_000)
SEGMENT_S, SEGMENTS, WARM_S = 5.0, 4, 3.0
VALUE = encode_npy(np.zeros(4, dtype=np.float32))
HEADERS: list[tuple[str, str | bytes]] = [("task", "noop"), ("slo-ms", "1000"), ("content-type", "application/x-npy")]


def run(kafka: KafkaSettings, *, segment_s: float = SEGMENT_S, segments: int = SEGMENTS) -> dict[str, Any]:
    ours = kafka.model_copy(update={"prefix": f"bench-latency-{wall_us():x}."})
    echo = kafka.model_copy(update={"prefix": f"bench-echo-{wall_us():x}."})
    figures: dict[str, Any] = {}
    with System(ours, stub_task("noop")) as system, _echo(echo), ExitStack() as stack:
        system.start("router-0")
        system.start("executor-0")
        system.wait_ready(1, _query)
        paths = {"ours": stack.enter_context(Path(ours)), "echo": stack.enter_context(Path(echo))}
        for rate in RATES_QPS:
            ms: dict[str, list[float]] = {"ours": [], "echo": []}
            for path in paths.values():
                path.measure(rate, WARM_S)
            for _ in range(segments):
                for name, path in paths.items():
                    ms[name] += path.measure(rate, segment_s)
            for q in (50, 99):
                a, b = float(np.percentile(ms["ours"], q)), float(np.percentile(ms["echo"], q))
                figures[f"p{q}_ms_{rate}"], figures[f"echo_p{q}_ms_{rate}"] = round(a, 2), round(b, 2)
                figures[f"p{q}_ratio_{rate}"] = round(a / b, 2)
    return figures


def _query(_n: int) -> tuple[bytes, list[tuple[str, str | bytes]]]:
    return VALUE, HEADERS


class Path:
    """A load and a reader of its answers, kept over all segments: a new consumer's first fetch takes half a second."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._prefix = kafka.prefix
        self._load = Load(kafka, _query, reply_partition=0)
        self._answers = Answers(kafka)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._answers.stop()

    def measure(self, rate: float, seconds: float) -> list[float]:
        sent = self._load.send(rate_qps=rate, seconds=seconds)
        missing = self._answers.wait_for(list(sent.at_us), 10.0)
        if missing:
            raise RuntimeError(f"{len(missing)} of {len(sent.at_us)} queries have no answer on {self._prefix}")
        return tally(sent, self._answers).latency_ms


@contextmanager
def _echo(kafka: KafkaSettings) -> Iterator[None]:
    """Two processes: queries -> work, work -> results."""
    create(kafka)
    command = [sys.executable, "-m", "benchmarks.latency", kafka.model_dump_json()]
    hops = [subprocess.Popen([*command, hop], start_new_session=True) for hop in ("a", "b")]
    try:
        time.sleep(3.0)
        yield
    finally:
        for hop in hops:
            hop.terminate()
            hop.wait(10)


def hop(kafka: KafkaSettings, name: str) -> None:
    """Consume and produce at once, nothing else; `b` writes what the answers' reader expects to see."""
    source, target = ("queries", "work.cpu") if name == "a" else ("work.cpu", "results")
    consumer = Consumer(kafka.observer(**{"fetch.queue.backoff.ms": 1}))
    count = kafka.query_partitions if name == "a" else kafka.slots
    topic = kafka.topic(source)
    ends = [TopicPartition(topic, p, end_offset(consumer, topic, p, timeout_s=10)) for p in range(count)]
    consumer.assign(ends)
    producer = Producer(kafka.producer())
    threading.Thread(target=_poll, args=(producer,), daemon=True).start()
    while True:
        first = consumer.poll(0.1)
        if first is None:
            continue
        for message in [first, *consumer.consume(499, 0)]:
            headers: Any = message.headers()
            if name == "a":
                producer.produce(kafka.topic(target), message.value(), headers=headers)
            else:
                got = dict(headers)
                answer = [("query-id", got["query-id"]), ("outcome", "ok"), *headers]
                partition = int(got["reply-partition"])
                producer.produce(kafka.topic(target), message.value(), headers=answer, partition=partition)


def _poll(producer: Producer) -> None:
    while True:
        producer.poll(0.1)


def main(*, as_json: bool) -> None:
    report("latency", lambda kafka, _broker: run(kafka), as_json=as_json)


if __name__ == "__main__":
    hop(KafkaSettings.model_validate_json(sys.argv[1]), sys.argv[2])
