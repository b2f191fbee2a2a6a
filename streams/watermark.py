"""The end of a partition, asked for until somebody knows it."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

AGAIN_S = 0.05
# A topic that was created, or whose leader moved, a moment ago: librdkafka does not ask again by itself here.
_PASSING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 (librdkafka's local codes are named so)
    }
)


def passing(error: KafkaError) -> bool:
    """Whether asking again may help."""
    return error.retriable() or error.code() in _PASSING


def end_offset(consumer: Consumer, topic: str, partition: int, *, timeout_s: float) -> int:
    """One past the last record, as the leader says.

    Raises: KafkaException if no leader tells it in time.
    """
    give_up = time.monotonic() + timeout_s
    while True:
        left_s = max(0.1, give_up - time.monotonic())
        try:
            where = TopicPartition(topic, partition)
            return consumer.get_watermark_offsets(where, timeout=left_s, cached=False)[1]
        except KafkaException as refused:
            error = refused.args[0]
            if time.monotonic() > give_up or not passing(error):
                raise
        time.sleep(AGAIN_S)
