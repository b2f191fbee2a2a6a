"""The registry topic: publish records, read all of it, and follow it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from registry.catalog import Catalog
from registry.records import Record, encode
from streams.errors import BadRecord, Unreachable
from streams.rdlog import log as rdkafka
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

REQUEST_S = 15.0


def publish(kafka: KafkaSettings, records: Iterable[Record]) -> int:
    """Write records and wait until the cluster has them; returns how many.

    Raises: Unreachable if the cluster does not take them in time.
    """
    return _write(kafka, ((record.key, encode(record)) for record in records))


def forget(kafka: KafkaSettings, keys: Iterable[str]) -> int:
    """Delete what stands under these keys; returns how many.

    Raises: Unreachable if the cluster does not take the deletions in time.
    """
    return _write(kafka, ((key, None) for key in keys))


def _write(kafka: KafkaSettings, writes: Iterable[tuple[str, bytes | None]]) -> int:
    producer = Producer(kafka.producer(), logger=rdkafka)
    failed: list[KafkaError] = []
    count = 0
    for key, value in writes:
        producer.produce(
            kafka.topic("registry"), value, key=key,
            on_delivery=lambda error, _message: failed.append(error) if error is not None else None,
        )  # fmt: skip
        count += 1
    left = producer.flush(REQUEST_S)
    if left or failed:
        why = failed[0].str() if failed else f"no answer within {REQUEST_S:g} s"
        raise Unreachable(f"{left + len(failed)} of {count} registry records were not taken: {why}")
    return count


class Follower(threading.Thread):
    """Keeps a catalogue equal to the registry topic; `changed` is called in this thread after the first read-through
    and after every later record.
    """

    def __init__(self, kafka: KafkaSettings, changed: Callable[[Catalog], None] | None = None) -> None:
        super().__init__(name="registry", daemon=True)
        self.catalog = Catalog()
        self.unreadable = 0  # records of a version that this one cannot read
        self._kafka = kafka
        self._changed = changed
        self._caught_up = threading.Event()
        self._stop_requested = threading.Event()
        self._consumer = Consumer(kafka.observer(), logger=log)

    def wait(self, timeout_s: float = REQUEST_S) -> Catalog:
        """The catalogue, once everything that stood in the topic at the start is in it.

        Raises: Unreachable if that takes longer than `timeout_s`.
        """
        if not self._caught_up.wait(timeout_s):
            raise Unreachable(f"the registry at {self._kafka.bootstrap} was not read within {timeout_s:g} s")
        return self.catalog

    def stop(self) -> None:
        self._stop_requested.set()
        self.join(5.0)

    def run(self) -> None:
        topic = self._kafka.topic("registry")
        try:
            partition = TopicPartition(topic, 0)
            _, end = self._until_answered(lambda: self._consumer.get_watermark_offsets(partition, timeout=5.0))
            self._consumer.assign([TopicPartition(topic, 0, 0)])
            while not self._stop_requested.is_set():
                message = self._consumer.poll(0.1)
                if message is not None and message.error() is None:
                    self._apply(message.key(), message.value())
                position = self._consumer.position([partition])[0].offset
                if not self._caught_up.is_set() and (end == 0 or position >= end):
                    self._caught_up.set()
                    self._tell()
                elif self._caught_up.is_set() and message is not None:
                    self._tell()
        finally:
            self._consumer.close()

    def _apply(self, key: bytes | str | None, value: bytes | None) -> None:
        name = key.decode("utf-8", "replace") if isinstance(key, bytes) else key or ""
        try:
            self.catalog.apply(name, value)
        except msgspec.MsgspecError as unknown:
            self.unreadable += 1
            log.warning("registry record ignored", extra={"key": name, "error": BadRecord(str(unknown)).message})

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed(self.catalog)

    def _until_answered(self, ask: Callable[[], tuple[int, int]]) -> tuple[int, int]:
        while True:
            try:
                return ask()
            except KafkaException as silent:
                if self._stop_requested.is_set():
                    raise
                log.warning("registry not readable yet", extra={"error": str(silent)})
                time.sleep(0.5)


def read(kafka: KafkaSettings, timeout_s: float = REQUEST_S) -> Catalog:
    """One snapshot of the registry. Raises: Unreachable."""
    follower = Follower(kafka)
    follower.start()
    try:
        return follower.wait(timeout_s)
    finally:
        follower.stop()
