"""Reading the fleet: what executors and routers say of themselves, by the list and for one thread at a time.

Through Faust a record costs 280 us, and its consumer is a thread that starves beside a busy loop; a fleet of 20
executors says something a thousand times a second (docs/decisions/0003). So the router too reads `fleet` like
`queries`: by librdkafka, a list at a time, for an agent on a channel.
"""

from __future__ import annotations

import logging

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from streams.clock import wall_us
from streams.rdlog import log as rdkafka
from streams.records import PoolReport, RouterReport, Telemetry, decode_pool, decode_router, decode_telemetry
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

Word = Telemetry | RouterReport | PoolReport

ROUTER_KEY, POOL_KEY = b"router:", b"pool:"  # begin the keys of routers and provisioners; executors' are their names
LIST_MAX = 1_000
REQUEST_S = 10.0


class Hearing:
    """All of `fleet` from a moment ago on."""

    def __init__(self, kafka: KafkaSettings, *, back_ms: int) -> None:
        """Find the place to start. Raises: KafkaException if the cluster does not answer or lacks the topic."""
        self._consumer = Consumer(kafka.observer(**{"fetch.wait.max.ms": 100}), logger=rdkafka)
        try:
            self._consumer.assign(self._since(kafka.topic("fleet"), wall_us() // 1_000 - back_ms))
        except KafkaException:
            self._consumer.close()
            raise

    def listen(self, wait_s: float = 0.0) -> list[Word]:
        """What came since the last call, at most LIST_MAX; waits so long for the first if there is none."""
        first = self._consumer.poll(wait_s) if wait_s else None
        if wait_s and first is None:
            return []
        messages = [] if first is None else [first]
        messages += self._consumer.consume(LIST_MAX - len(messages), 0)
        return [word for message in messages if (word := _read(message)) is not None]

    def close(self) -> None:
        self._consumer.close()

    def _since(self, topic: str, at_ms: int) -> list[TopicPartition]:
        found = self._consumer.list_topics(topic, timeout=REQUEST_S).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        starts = self._consumer.offsets_for_times(
            [TopicPartition(topic, number, at_ms) for number in found.partitions], timeout=REQUEST_S
        )
        for start in starts:
            if start.error is not None:
                raise KafkaException(start.error)
        return starts


def _read(message: Message) -> Word | None:
    """A word, or None: what cannot be read is logged."""
    if message.error() is not None:
        log.warning("fleet not readable", extra={"error": str(message.error())})
        return None
    key, value = message.key() or b"", message.value() or b""
    name = key if isinstance(key, bytes) else key.encode()
    try:
        if name.startswith(POOL_KEY):
            return decode_pool(value)
        return decode_router(value) if name.startswith(ROUTER_KEY) else decode_telemetry(value)
    except msgspec.MsgspecError as unreadable:
        log.warning("fleet record ignored", extra={"key": str(key), "error": str(unreadable)})
        return None
