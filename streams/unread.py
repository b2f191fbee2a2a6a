"""What a consumer knows of the partitions that it reads: whether they are read yet, and how much of them is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.prefix import Prefix


class Unread:
    """By the watermarks of the last fetches; only for the thread that reads, since others wait out its poll."""

    def __init__(self, consumer: Consumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic

    def fetched(self, partitions: Iterable[int]) -> set[int]:
        """Those of which something came from the broker, if only that there is nothing."""
        return {partition for partition in partitions if self._watermarks(partition)[1] >= 0}

    def count(self, prefixes: Mapping[int, Prefix]) -> int:
        """Records in these partitions that were not read yet, as far as it is known."""
        count = 0
        for partition, prefix in prefixes.items():
            low, high = self._watermarks(partition)
            count += max(0, high - max(prefix.last + 1, prefix.begin, low)) if high >= 0 else 0
        return count

    def _watermarks(self, partition: int) -> tuple[int, int]:
        """The lowest and the next offset; -1 if nothing was fetched, or the consumer is closed."""
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
        except (KafkaException, RuntimeError):
            return -1, -1
        return low, high
