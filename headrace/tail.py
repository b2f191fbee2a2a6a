"""Answers as they come, read beside any client: every copy, from all partitions of `results` or one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import NamedTuple, Self

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

from streams.answers import read_answer
from streams.clock import Micros, wall_us
from streams.delivery import topic_missing
from streams.errors import Unreachable
from streams.rdlog import log as rdlog
from streams.records import Answer
from streams.settings import KafkaSettings
from streams.watermark import end_offset

log = logging.getLogger(__name__)

REQUEST_S = 10.0
BATCH_MAX = 500


class Heard(NamedTuple):
    """One answer and when it was read here. Units: `at_us` on this machine's wall clock, `appended_us` the broker's."""

    answer: Answer
    partition: int
    offset: int
    appended_us: int
    at_us: Micros


class Tail:
    """Reads `results` from its end, or from `since_us`. Use it as a context manager; one thread at a time."""

    def __init__(self, kafka: KafkaSettings, *, partition: int | None = None, since_us: int | None = None) -> None:
        """Find the place to start, so that what is asked after this is not missed.

        Raises: TopicMissing, Unreachable.
        """
        self.unreadable = 0
        self._topic = kafka.topic("results")
        self._consumer = Consumer(
            kafka.observer(),
            logger=rdlog,
        )
        try:
            self._consumer.assign(self._start(kafka, partition, since_us))
        except KafkaException as silent:
            self._consumer.close()
            raise Unreachable(f"{self._topic} at {kafka.bootstrap} cannot be read: {silent.args[0].str()}") from silent

    def listen(self, seconds: float) -> list[Heard]:
        """Wait up to `seconds` for the next answer; returns it and what lies ready behind it, at most BATCH_MAX."""
        first = self._consumer.poll(seconds)
        if first is None:
            return []
        now_us = wall_us()
        heard = []
        for message in (first, *self._consumer.consume(BATCH_MAX - 1, 0)):
            if message.error() is not None:
                log.warning("results not readable", extra={"error": str(message.error())})
                continue
            try:
                answer = read_answer(message.headers() or [], message.value(), topic=self._topic)  # type: ignore[arg-type]
            except ValueError as foreign:
                self.unreadable += 1
                log.warning("not an answer", extra={"offset": message.offset(), "error": str(foreign)})
                continue
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            heard.append(Heard(answer, partition, offset, message.timestamp()[1] * 1_000, now_us))
        return heard

    def follow(self, *, quiet_s: float | None) -> Iterator[Heard]:
        """Answer after answer; ends after `quiet_s` without one, or never."""
        last = time.monotonic()
        while quiet_s is None or time.monotonic() - last < quiet_s:
            for heard in self.listen(0.2):
                yield heard
                last = time.monotonic()

    def close(self) -> None:
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def _start(self, kafka: KafkaSettings, partition: int | None, since_us: int | None) -> list[TopicPartition]:
        found = self._consumer.list_topics(self._topic, timeout=REQUEST_S).topics[self._topic]
        if not found.partitions:
            raise topic_missing(kafka, self._topic)
        numbers = sorted(found.partitions) if partition is None else [partition]
        if since_us is not None:
            wanted = [TopicPartition(self._topic, number, since_us // 1_000) for number in numbers]
            return [
                part if part.offset >= 0 else TopicPartition(self._topic, part.partition, OFFSET_END)
                for part in self._consumer.offsets_for_times(wanted, timeout=REQUEST_S)
            ]
        return [  # a number, not OFFSET_END: that would be looked up at the first poll, after the first answers
            TopicPartition(
                self._topic,
                number,
                end_offset(self._consumer, self._topic, number, timeout_s=REQUEST_S),
            )
            for number in numbers
        ]
