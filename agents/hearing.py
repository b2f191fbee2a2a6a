"""Reading the fleet: telemetry by the list, without waiting, so that hundreds of records a second cost little.

Through Faust a record costs 280 us, and its consumer is a thread that starves beside a busy loop; a fleet of 20
executors says something a thousand times a second (docs/decisions/0003). So `fleet` is read like `queries`: by
librdkafka, a list at a time, for an agent on a channel.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.clock import wall_us
from streams.rdlog import log as rdkafka
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

HISTORY_MS = 3_000  # of telemetry to read at the start: a few heartbeats of everyone
LIST_MAX = 1_000
REQUEST_S = 10.0


class Word(NamedTuple):
    """One record of `fleet`."""

    key: bytes
    value: bytes


class Hearing:
    """All of `fleet` from a moment ago on; for one thread at a time."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Find the place to start. Raises: KafkaException if the cluster does not answer or lacks the topic."""
        self._consumer = Consumer(kafka.observer(**{"fetch.wait.max.ms": 100}), logger=rdkafka)
        topic = kafka.topic("fleet")
        found = self._consumer.list_topics(topic, timeout=REQUEST_S).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        since = [TopicPartition(topic, number, wall_us() // 1_000 - HISTORY_MS) for number in found.partitions]
        self._consumer.assign(self._consumer.offsets_for_times(since, timeout=REQUEST_S))

    def listen(self) -> list[Word]:
        """What came since the last call, at most LIST_MAX; does not wait."""
        words = []
        for message in self._consumer.consume(LIST_MAX, 0):
            if message.error() is not None:
                log.warning("fleet not readable", extra={"error": str(message.error())})
                continue
            key, value = message.key() or b"", message.value() or b""
            words.append(Word(key if isinstance(key, bytes) else key.encode(), value))
        return words

    def close(self) -> None:
        self._consumer.close()
