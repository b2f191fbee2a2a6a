"""A client's own share of the reply topic: one partition, read from the end that it had before the first query."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from streams.rdlog import log as rdkafka
from streams.settings import KafkaSettings
from streams.watermark import end_offset

log = logging.getLogger(__name__)

TICK_S = 0.05  # how often the sink is called without a message, so that it can look at its deadlines
BATCH_MAX = 500
CLOSE_S = 5.0


class Mailbox(threading.Thread):
    """Hands lists of messages, often empty, to `sink` in this thread; no group, nothing is committed.

    The start is the partition's end offset, asked for and given to `assign` as a number. With "latest" the
    position would be found at the first fetch, which may come after the first answer.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        partitions: int,
        sink: Callable[[list[Message]], None],
        *,
        on_broken: Callable[[Exception], None],
        timeout_s: float,
    ) -> None:
        """Find the end of a random partition. Raises: KafkaException if the cluster does not tell it in time."""
        super().__init__(name="headrace-mailbox", daemon=True)
        self.partition = random.SystemRandom().randrange(partitions)
        self._sink = sink
        self._on_broken = on_broken
        self._stop_requested = threading.Event()
        self._consumer = Consumer(_config(kafka), logger=rdkafka)
        try:
            end = end_offset(self._consumer, topic, self.partition, timeout_s=timeout_s)
            self._consumer.assign([TopicPartition(topic, self.partition, end)])
        except BaseException:
            self._consumer.close()
            raise

    def stop(self) -> None:
        self._stop_requested.set()
        if threading.current_thread() is not self:  # a callback of ours may close the client
            self.join(CLOSE_S)

    def run(self) -> None:
        consumer = self._consumer
        complained_at = float("-inf")
        try:
            while not self._stop_requested.is_set():
                first = consumer.poll(TICK_S)
                messages = [] if first is None else [first, *consumer.consume(BATCH_MAX - 1, 0)]
                good = [message for message in messages if message.error() is None]
                for error in (message.error() for message in messages if message.error() is not None):
                    assert error is not None
                    if error.fatal():
                        raise KafkaException(error)  # noqa: TRY301 - one way out for all that breaks the mailbox
                    if time.monotonic() > complained_at + 10.0:
                        complained_at = time.monotonic()
                        log.warning("mailbox error", extra={"error": error.str()})
                self._sink(good)
        except Exception as broken:
            log.exception("mailbox failed")
            self._on_broken(broken)
        finally:
            consumer.close()


def _config(kafka: KafkaSettings) -> dict[str, Any]:
    return kafka.observer(
        **{
            "auto.offset.reset": "earliest",  # if the log was cut: rather read too much than miss an answer
            "queued.min.messages": 10_000,
            "queued.max.messages.kbytes": 65_536,
        }
    )
