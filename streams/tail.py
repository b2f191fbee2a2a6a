"""Reading a topic from a moment or an offset on, by the list and for one thread at a time, without a group."""

from __future__ import annotations

import logging
import time
from typing import cast

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from streams.rdlog import log as rdkafka
from streams.settings import KafkaSettings
from streams.watermark import AGAIN_S, passing

log = logging.getLogger(__name__)

LIST_MAX = 1_000
REQUEST_S = 10.0


class Tail:
    """All partitions of one topic."""

    def __init__(
        self, kafka: KafkaSettings, topic: str, *, since_ms: int, offsets: dict[int, int] | None = None
    ) -> None:
        """Find the place to start: `offsets` where one is given and still kept, else the first record of `since_ms`.

        Raises: KafkaException if the cluster does not answer or lacks the topic.
        """
        self._consumer = Consumer(
            kafka.observer(**{"fetch.wait.max.ms": 100, "auto.offset.reset": "earliest"}), logger=rdkafka
        )
        try:
            starts = self._since(kafka.topic(topic), since_ms)
            for start in starts:
                start.offset = (offsets or {}).get(start.partition, start.offset)
            self._next = {start.partition: start.offset for start in starts}
            self._newest_ms = 0
            self._topic = kafka.topic(topic)
            self._consumer.assign(starts)
        except KafkaException:
            self._consumer.close()
            raise

    def listen(self, wait_s: float = 0.0) -> list[Message]:
        """What came since the last call, at most LIST_MAX; waits so long for the first if there is none."""
        first = self._consumer.poll(wait_s) if wait_s else None
        if wait_s and first is None:
            return []
        messages = [] if first is None else [first]
        messages += self._consumer.consume(LIST_MAX - len(messages), 0)
        sound = [message for message in messages if _sound(message)]
        for message in sound:
            self._next[cast("int", message.partition())] = cast("int", message.offset()) + 1
        if sound:
            self._newest_ms = sound[-1].timestamp()[1]
        return sound

    def reached(self, since_ms: int) -> bool:
        """Whether everything written before `since_ms` was read: all of the topic was, or something newer."""
        return self._newest_ms >= since_ms or all(self._at_end(partition) for partition in self._next)

    def _at_end(self, partition: int) -> bool:
        where = TopicPartition(self._topic, partition)
        try:
            high = self._consumer.get_watermark_offsets(where, cached=True)[1]
        except KafkaException:  # nothing was fetched from it yet
            return False
        return high >= 0 and not 0 <= self._next[partition] < high

    def close(self) -> None:
        self._consumer.close()

    def _since(self, topic: str, at_ms: int) -> list[TopicPartition]:
        give_up = time.monotonic() + REQUEST_S
        while True:
            try:
                return self._asked(topic, at_ms)
            except KafkaException as refused:
                if time.monotonic() > give_up or not passing(refused.args[0]):
                    raise
            time.sleep(AGAIN_S)

    def _asked(self, topic: str, at_ms: int) -> list[TopicPartition]:
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


def _sound(message: Message) -> bool:
    if message.error() is None:
        return True
    log.warning("topic not readable", extra={"error": str(message.error())})
    return False
