"""What one side answered, query by query, and what the same queries asked."""

from __future__ import annotations

import threading

import numpy as np
from confluent_kafka import Consumer, KafkaException, TopicPartition

from forecasting.rows import Floats
from streams.answers import read_answer
from streams.clock import wall_us
from streams.contract import Outcome
from streams.rdlog import log as rdkafka
from streams.settings import KafkaSettings
from streams.watermark import end_offset

REPLY_PARTITION = 0
LIST_MAX = 500
REQUEST_S = 10.0


class Sent:
    """The queries of a scene, by number, sent to every side at once. Units: `at_us` wall clock; 0: not sent yet."""

    def __init__(self, count: int) -> None:
        self.at_us = np.zeros(count, dtype=np.int64)
        self.kind = np.zeros(count, dtype=np.int64)
        self.count = 0


class Tape(threading.Thread):
    """The first answer to each query, read from `results` in a thread of its own until `stop`.

    Shapes: all by the query's number. `took_us`: -1 where nothing came; `accuracy`: of the variant that answered, NaN
    where the answer was not `ok`.
    """

    def __init__(self, kafka: KafkaSettings, sent: Sent, *, tag: str) -> None:
        """Find the end of the topic. Raises: KafkaException if the cluster does not answer."""
        super().__init__(name="scenario-answers", daemon=True)
        count = len(sent.at_us)
        self.took_us = np.full(count, -1, dtype=np.int64)
        self.accuracy: Floats = np.full(count, np.nan)
        self.variants: dict[str, int] = {}
        self.answered = self.marked = self.emulated = 0
        self.sent, self._prefix = sent, f"{tag}-"
        self._topic = kafka.topic("results")
        self._consumer = Consumer(kafka.observer(**{"fetch.queue.backoff.ms": 1}), logger=rdkafka)
        self._stop_requested = threading.Event()
        part = TopicPartition(self._topic, REPLY_PARTITION)
        part.offset = end_offset(self._consumer, self._topic, REPLY_PARTITION, timeout_s=REQUEST_S)
        self._consumer.assign([part])

    def run(self) -> None:
        while not self._stop_requested.is_set():
            try:
                messages = self._consumer.consume(LIST_MAX, 0.05)
            except KafkaException:  # the broker is away; librdkafka goes on trying
                continue
            now_us = wall_us()
            for message in messages:
                if message.error() is None:
                    self._take(message.headers() or [], message.value(), now_us)  # type: ignore[arg-type]
        self._consumer.close()

    def _take(self, headers: list[tuple[str, bytes | None]], value: bytes | None, now_us: int) -> None:
        answer = read_answer(headers, value, topic=self._topic)
        if not answer.query_id.startswith(self._prefix):
            return
        number = int(answer.query_id[len(self._prefix) :])
        if self.took_us[number] >= 0:
            return
        self.answered += 1
        self.marked += answer.duplicate
        self.took_us[number] = now_us - self.sent.at_us[number]
        if answer.outcome is Outcome.OK and answer.variant is not None:
            self.accuracy[number] = answer.accuracy or 0.0
            self.variants[answer.variant] = self.variants.get(answer.variant, 0) + 1

    def stop(self) -> None:
        self._stop_requested.set()
        self.join(REQUEST_S)
