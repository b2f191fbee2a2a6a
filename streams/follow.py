"""Following a compacted topic of one partition: all that stands in it, and then every record that comes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.errors import Unreachable
from streams.rdlog import log as rdkafka
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

REQUEST_S = 15.0
AGAIN_S = 0.5


class Follow(threading.Thread):
    """Calls, in this thread, `apply` with each record's key and value (None: a deletion), in order.

    changed: called after the first read-through, and after every later record.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        *,
        apply: Callable[[str, bytes | None], None],
        changed: Callable[[], None],
    ) -> None:
        super().__init__(name=topic, daemon=True)
        self._kafka = kafka
        self._topic = kafka.topic(topic)
        self._apply_record = apply
        self._tell_change = changed
        self._caught_up = threading.Event()
        self._stop_requested = threading.Event()
        self._consumer = Consumer(kafka.observer(), logger=rdkafka)

    def caught_up(self, timeout_s: float = REQUEST_S) -> None:
        """Wait until everything that stood in the topic at the start was applied.

        Raises: Unreachable if that takes longer than `timeout_s`.
        """
        if not self._caught_up.wait(timeout_s):
            raise Unreachable(f"{self._topic} at {self._kafka.bootstrap} was not read within {timeout_s:g} s")

    def stop(self) -> None:
        self._stop_requested.set()
        self.join(5.0)

    def run(self) -> None:
        try:
            end = self._end()
            if end is not None:
                self._follow(end)
        finally:
            self._consumer.close()

    def _follow(self, end: int) -> None:
        partition = TopicPartition(self._topic, 0)
        self._consumer.assign([TopicPartition(self._topic, 0, 0)])
        while not self._stop_requested.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                key, value = message.key(), message.value()
                name = key.decode("utf-8", "replace") if isinstance(key, bytes) else key or ""
                self._apply_record(name, value.encode() if isinstance(value, str) else value)
            if self._caught_up.is_set():
                if message is not None:
                    self._tell_change()
            elif end == 0 or self._consumer.position([partition])[0].offset >= end:
                self._caught_up.set()
                self._tell_change()

    def _end(self) -> int | None:
        """Where the topic ends, asked for until somebody knows; None if this was stopped before."""
        while not self._stop_requested.is_set():
            try:
                return self._consumer.get_watermark_offsets(TopicPartition(self._topic, 0), timeout=5.0)[1]
            except KafkaException as silent:
                log.warning("topic not readable yet", extra={"topic": self._topic, "error": str(silent)})
                time.sleep(AGAIN_S)
        return None
