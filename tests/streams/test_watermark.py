"""The end of a partition is asked for until its leader knows it."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.watermark import end_offset


class Answers(Consumer):
    """A consumer whose look-ups give prepared results; the real cluster cannot be made to hesitate on demand."""

    def __init__(self, *results: int) -> None:
        super().__init__({"group.id": "none"})
        self.results = list(results)

    def get_watermark_offsets(self, _where: TopicPartition, **_: object) -> tuple[int, int]:  # type: ignore[override]
        result = self.results.pop(0)
        if result < 0 or result in (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.TOPIC_AUTHORIZATION_FAILED):
            raise KafkaException(KafkaError(result))
        return 0, result


def test_end_offset_of_a_topic_without_leader_is_asked_again() -> None:
    """A topic that was created a moment ago must not count as one whose end is unknown."""
    consumer = Answers(KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError._UNKNOWN_PARTITION, 42)

    assert end_offset(consumer, "t", 0, timeout_s=5) == 42


def test_end_offset_refused_for_good_raises_at_once() -> None:
    """Waiting gives nobody the right to read."""
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        end_offset(Answers(KafkaError.TOPIC_AUTHORIZATION_FAILED), "t", 0, timeout_s=5)


def test_end_offset_gives_up_in_time() -> None:
    """A cluster without a leader is somebody else's to report."""
    with pytest.raises(KafkaException, match="NOT_LEADER"):
        end_offset(Answers(*[KafkaError.NOT_LEADER_FOR_PARTITION] * 99), "t", 0, timeout_s=0.2)
