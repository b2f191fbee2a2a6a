"""How far groups are behind: what lies in a topic and was not committed yet."""

from __future__ import annotations

from typing import NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.settings import KafkaSettings

REQUEST_S = 10.0


class Lag(NamedTuple):
    """One group on one topic; `behind` counts records not committed over all partitions."""

    group: str
    topic: str
    behind: int
    end: int


def lags(kafka: KafkaSettings, admin: AdminClient) -> list[Lag]:
    """The router's lag on `queries`, and that of every pool's executors on its work topic.

    Raises: KafkaException if a topic is missing or the cluster does not answer.
    """
    pairs = [("router", "queries"), *((f"executor.{pool}", f"work.{pool}") for pool in kafka.pools)]
    return [_lag(kafka, admin, group, topic) for group, topic in pairs]


def _lag(kafka: KafkaSettings, admin: AdminClient, group: str, topic: str) -> Lag:
    name, full = kafka.topic(group), kafka.topic(topic)
    count = len(admin.list_topics(full, timeout=REQUEST_S).topics[full].partitions)
    parts = [TopicPartition(full, partition) for partition in range(count)]
    first, end = (
        admin.list_offsets(dict.fromkeys(parts, spec), request_timeout=REQUEST_S)
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
    )
    committed = _committed(admin, name, parts)
    behind = last = 0
    for part in parts:
        start, stop = first[part].result().offset, end[part].result().offset
        behind += stop - max(start, committed.get(part.partition, start))
        last += stop
    return Lag(name, full, behind, last)


def _committed(admin: AdminClient, group: str, parts: list[TopicPartition]) -> dict[int, int]:
    wanted = ConsumerGroupTopicPartitions(group, parts)
    try:
        found = admin.list_consumer_group_offsets([wanted], request_timeout=REQUEST_S)[group].result()
    except KafkaException as unknown:
        if unknown.args[0].name() == "GROUP_ID_NOT_FOUND":  # nobody has ever read: all of it is behind
            return {}
        raise
    return {part.partition: part.offset for part in found.topic_partitions or [] if part.offset >= 0}
