"""Which reply topics a query may name, decided from cached metadata before anything is produced."""

from __future__ import annotations

from fnmatch import fnmatchcase

from streams.errors import ReplyTopicRefused
from streams.settings import TOPIC_NAME_MAX, KafkaSettings

KNOWN_MAX = 10_000  # topics remembered; a hostile client can name more
AGAIN_US = 5_000_000  # before a topic that did not exist is looked up again


class ReplyTopics:
    """The allow-list and what is known of its topics. The look-up itself is the shell's, off the event loop."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.default = kafka.topic("results")
        self._globs = tuple(kafka.topic(glob) for glob in kafka.reply_topics)
        self._partitions: dict[str, tuple[int | None, int]] = {self.default: (kafka.result_partitions, 0)}

    def verdict(self, topic: str | None, partition: int, *, now_us: int) -> str | ReplyTopicRefused | None:
        """Where the answer goes.

        Returns: the topic's name; the reason why not; or None if the topic must be looked up first.
        """
        name = topic or self.default
        known = self._partitions.get(name)
        if known is None or (known[0] is None and now_us - known[1] > AGAIN_US):
            if len(name) > TOPIC_NAME_MAX or not any(fnmatchcase(name, glob) for glob in self._globs):
                allowed = ", ".join(self._globs)
                return ReplyTopicRefused(f"reply-topic {name[:TOPIC_NAME_MAX]!r} is not among the allowed: {allowed}")
            return None
        count = known[0]
        if count is None:
            return ReplyTopicRefused(f"reply-topic {name!r} does not exist")
        if partition >= count:
            return ReplyTopicRefused(f"reply-partition {partition} of {name!r}, which has {count}")
        return name

    def learned(self, topic: str, partitions: int | None, *, now_us: int) -> None:
        """Keep the result of a look-up; None: the topic does not exist."""
        if len(self._partitions) >= KNOWN_MAX:
            default = self._partitions[self.default]
            self._partitions.clear()
            self._partitions[self.default] = default
        self._partitions[topic] = (partitions, now_us)
