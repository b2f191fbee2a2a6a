"""The smallest system that answers: reads `queries`, writes what a function says; and topics of a test's own."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any, Self, cast

from confluent_kafka import Consumer, Message, TopicPartition

from streams.answers import refusal
from streams.clock import wall_us
from streams.contract import Outcome
from streams.outbox import Outbox
from streams.payloads import encode_v2_response
from streams.query import Headers, Malformed, Query, QueryReader, Unaddressable
from streams.records import Answer
from streams.settings import KafkaSettings
from streams.terminal import Terminal
from streams.topics import create
from streams.watermark import end_offset

Respond = Callable[[Query, Message], list[Answer]]


def fresh_kafka(bootstrap: str, **settings: Any) -> KafkaSettings:
    """Topics under a prefix that nobody else uses."""
    small: dict[str, Any] = {"query_partitions": 2, "result_partitions": 2, "slots": 2, **settings}
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=f"t{secrets.token_hex(4)}.", **small)
    create(kafka)
    return kafka


def answer_to(query: Query, *, topic: str, value: bytes | None = None, **more: Any) -> Answer:
    """An ok answer; its label is the target that was asked."""
    outputs: list[tuple[str, str, list[int], list[Any]]] = [
        ("label", "BYTES", [1], [query.requirements.target]),
        ("score", "FP32", [1], [0.5]),
    ]
    return Answer(
        query_id=query.query_id, outcome=Outcome.OK, reply_topic=query.reply_topic or topic,
        value=value or encode_v2_response(model_name="echo", model_version="1", id=query.query_id, outputs=outputs),
        reply_partition=query.reply_partition, correlation=query.correlation, style=query.style,
        traceparent=query.traceparent, tracestate=query.tracestate,
        **{"variant": "echo@cpu", "accuracy": 0.9, "batch": 1, **more},
    )  # fmt: skip


class Echo(threading.Thread):
    """Answers every query that is produced after `with` is entered; `respond` may answer often, or not at all."""

    def __init__(self, kafka: KafkaSettings, respond: Respond | None = None) -> None:
        super().__init__(name="echo", daemon=True)
        self.seen: list[tuple[Query, Message]] = []
        self.dead = 0
        self._results = kafka.topic("results")
        self._respond = respond or (lambda query, _message: [answer_to(query, topic=self._results)])
        self._topic = kafka.topic("queries")
        self._kafka = kafka
        self._outbox = Outbox(kafka.producer())
        self.terminal = Terminal(self._outbox, kafka)
        self._consumer = Consumer(kafka.client(**{"group.id": "echo", "enable.auto.commit": False}))
        self._finished = threading.Event()

    def __enter__(self) -> Self:
        parts = [TopicPartition(self._topic, n) for n in range(self._kafka.query_partitions)]
        ends = [end_offset(self._consumer, p.topic, p.partition, timeout_s=10) for p in parts]
        self._consumer.assign([TopicPartition(p.topic, p.partition, end) for p, end in zip(parts, ends, strict=True)])
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        self.join(10)
        self._outbox.close(5)
        self._consumer.close()

    def run(self) -> None:
        reader = QueryReader()
        while not self._finished.is_set():
            message = self._consumer.poll(0.02)
            if message is None:
                continue
            assert message.error() is None
            query = reader.read(
                cast("Headers", message.headers() or []),
                fallback_id=f"{message.topic()}-{message.partition()}-{message.offset()}",
                timestamp_ms=message.timestamp()[1],
                has_value=message.value() is not None,
            )
            if isinstance(query, Unaddressable):
                self.terminal.dead_letter(message, query.error, self._buried)
            elif isinstance(query, Malformed):
                topic = query.reply_topic or self._results
                refused = refusal(query, query.error, reply_topic=topic, now_us=wall_us(), duplicate=False)
                self.terminal.answer(refused, lambda: None)
            else:
                for answer in self._respond(query, message):
                    self.terminal.answer(answer, lambda: None)
                self.seen.append((query, message))

    def _buried(self) -> None:
        self.dead += 1


def read_all(kafka: KafkaSettings, topic: str, *, partition: int = 0) -> list[Message]:
    """Every record of a partition, from its beginning to the end that it has now."""
    name = kafka.topic(topic)
    consumer = Consumer(kafka.client(**{"group.id": "read-all", "enable.auto.commit": False}))
    end = end_offset(consumer, name, partition, timeout_s=10)
    consumer.assign([TopicPartition(name, partition, 0)])
    found: list[Message] = []
    while end and (not found or (found[-1].offset() or 0) + 1 < end):
        message = consumer.poll(10)
        assert message is not None, f"{name}: {len(found)} of {end} records"
        assert message.error() is None
        found.append(message)
    consumer.close()
    return found
