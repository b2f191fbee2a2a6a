"""An open-loop load on `queries` and a reader of every answer: what benchmarks and fault tests count with.

Plain confluent-kafka, not headrace.Client: it keeps all copies of an answer, and its cost stays out of the figures.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from streams.answers import read_answer
from streams.clock import wall_us
from streams.records import Answer
from streams.settings import KafkaSettings
from streams.watermark import end_offset

QueryMaker = Callable[[int], tuple[bytes, list[tuple[str, str | bytes]]]]  # index -> value, headers

MARK, READY_S = b"\0reader-", 10.0
FLUSH_S = 30.0  # longer than the producer keeps a record that it cannot deliver
LATE_START_S = 0.25  # a generator that falls further behind than this is no longer open-loop; it says so


class Got(NamedTuple):
    """One answer, when it came. Units: `at_us` wall clock."""

    answer: Answer
    at_us: int


class Answers(threading.Thread):
    """Reads `results` from its end on, and keeps every answer by query id.

    All partitions, since an answer whose own address is refused goes to any. A new consumer's first fetch can take
    half a second, which would count as the latency of what is sent meanwhile: so it is ready once it has read a mark
    of its own from every partition.

    Raises: RuntimeError if that takes longer than READY_S.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        super().__init__(name="answers", daemon=True)
        self.by_id: dict[str, list[Got]] = {}
        self.count = 0
        self._topic = kafka.topic("results")
        self._consumer = Consumer(kafka.observer(**{"fetch.queue.backoff.ms": 1}))
        self._stop_requested = threading.Event()
        parts = [TopicPartition(self._topic, p) for p in range(kafka.result_partitions)]
        for part in parts:
            part.offset = end_offset(self._consumer, self._topic, part.partition, timeout_s=10)
        self._consumer.assign(parts)
        self._mark, self._marks = MARK + f"{wall_us():x}".encode(), len(parts)
        self._ready = threading.Event()
        self.start()
        marker = Producer(kafka.producer())
        for part in parts:
            marker.produce(self._topic, b"", key=self._mark, partition=part.partition)
        if marker.flush(READY_S) or not self._ready.wait(READY_S):
            self.stop()
            raise RuntimeError(f"{self._marks} of {len(parts)} partitions of {self._topic} are not read yet")

    def run(self) -> None:
        while not self._stop_requested.is_set():
            first = self._consumer.poll(0.05)
            if first is None:
                continue
            now_us = wall_us()
            for message in [first, *self._consumer.consume(499, 0)]:
                if message.error() is None and not self._is_mark(message):
                    answer = read_answer(message.headers() or [], message.value(), topic=self._topic)  # type: ignore[arg-type]
                    self.by_id.setdefault(answer.query_id, []).append(Got(answer, now_us))
                    self.count += 1
        self._consumer.close()

    def _is_mark(self, message: Message) -> bool:
        """Whether it is a reader's mark; with the last of its own this reader is ready."""
        key = message.key() or b""
        if key == self._mark:
            self._marks -= 1
            if self._marks == 0:
                self._ready.set()
        return key.startswith(MARK)

    def stop(self) -> None:
        self._stop_requested.set()
        self.join(5.0)

    def wait_for(self, ids: list[str], timeout_s: float) -> list[str]:
        """Wait until every id has an answer; returns those that still have none."""
        end = time.monotonic() + timeout_s
        missing = [i for i in ids if i not in self.by_id]
        while missing and time.monotonic() < end:
            time.sleep(0.05)
            missing = [i for i in missing if i not in self.by_id]
        return missing


class Sent(NamedTuple):
    """What a load sent and the broker acknowledged: id -> when, wall clock microseconds."""

    at_us: dict[str, int]
    behind_s: float


class Load:
    """Sends queries at Poisson instants (or evenly) from this thread; `send` blocks until the last is delivered."""

    def __init__(self, kafka: KafkaSettings, make: QueryMaker, *, reply_partition: int, seed: int = 1) -> None:
        self._producer = Producer(kafka.producer())
        self._topic = kafka.topic("queries")
        self._make = make
        self._partition = str(reply_partition)
        self._rng = np.random.default_rng(seed)
        self._sent = 0
        self._undelivered: set[str] = set()
        self._tag = f"{wall_us():x}"

    def send(self, *, rate_qps: float, seconds: float, poisson: bool = True) -> Sent:
        """Send `rate_qps` for `seconds`. The query id of number n is unique over all loads."""
        at_us: dict[str, int] = {}
        behind = 0.0
        start = time.monotonic()
        for due in self._instants(rate_qps, seconds, poisson=poisson):
            wait = start + due - time.monotonic()
            if wait > 0:
                self._producer.poll(0)
                time.sleep(wait)
            else:
                behind = max(behind, -wait)
            self.one(at_us)
        self._producer.flush(FLUSH_S)
        for name in self._undelivered:
            at_us.pop(name, None)
        return Sent(at_us, behind)

    def repeat(self, query_id: str) -> None:
        """Send an id again, with the value and headers of its number."""
        value, headers = self._make(int(query_id.rpartition("-")[2]))
        own: list[tuple[str, str | bytes]] = [("query-id", query_id), ("reply-partition", self._partition)]
        self._producer.produce(self._topic, value, key=query_id, headers=[*own, *headers])

    def flush(self) -> None:
        self._producer.flush(10)

    def one(self, at_us: dict[str, int]) -> str:
        value, headers = self._make(self._sent)
        name = f"{self._tag}-{self._sent}"
        self._sent += 1
        at_us[name] = wall_us()
        self._producer.produce(
            self._topic, value, key=name, headers=[("query-id", name), ("reply-partition", self._partition), *headers],
            on_delivery=self._delivered,
        )  # fmt: skip
        return name

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        """A query that the broker never acknowledged, since it was away for too long, is nobody's to answer."""
        if error is not None:
            self._undelivered.add(str(message.key(), "ascii"))  # type: ignore[arg-type]

    def _instants(self, rate_qps: float, seconds: float, *, poisson: bool) -> Iterator[float]:
        at = 0.0
        while True:
            at += self._rng.exponential(1 / rate_qps) if poisson else 1 / rate_qps
            if at >= seconds:
                return
            yield at


class Tally(NamedTuple):
    """How a load was answered: every query by its first answer; latencies of ok answers in ms."""

    sent: int
    answered: int
    lost: int
    unmarked_duplicates: int
    ok: int
    in_time: int
    outcomes: dict[str, int]
    latency_ms: list[float]


def tally(sent: Sent, answers: Answers, *, slo_ms: float | None = None) -> Tally:
    """Count. In time: ok, and here within `slo_ms` of the sending."""
    outcomes: dict[str, int] = {}
    latency_ms: list[float] = []
    answered = ok = in_time = doubled = 0
    for name, at_us in sent.at_us.items():
        got = answers.by_id.get(name)
        if not got:
            continue
        answered += 1
        doubled += sum(not g.answer.duplicate for g in got) > 1
        first = got[0]
        outcomes[first.answer.outcome] = outcomes.get(first.answer.outcome, 0) + 1
        if first.answer.outcome == "ok":
            ok += 1
            took_ms = (first.at_us - at_us) / 1_000
            latency_ms.append(took_ms)
            in_time += slo_ms is None or took_ms <= slo_ms
    return Tally(
        sent=len(sent.at_us), answered=answered, lost=len(sent.at_us) - answered, unmarked_duplicates=doubled, ok=ok,
        in_time=in_time, outcomes=outcomes, latency_ms=latency_ms,
    )  # fmt: skip
