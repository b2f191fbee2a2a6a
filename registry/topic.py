"""The registry topic: publish records, read all of it, and follow it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import msgspec
from confluent_kafka import KafkaError, Producer

from registry.catalog import Catalog
from registry.records import Record, encode
from streams.errors import BadRecord, Unreachable
from streams.follow import REQUEST_S, Follow
from streams.rdlog import log as rdkafka
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)


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


class Follower(Follow):
    """Keeps a catalogue equal to the registry topic; `changed` is called in this thread after the first read-through
    and after every later record.
    """

    def __init__(self, kafka: KafkaSettings, changed: Callable[[Catalog], None] | None = None) -> None:
        super().__init__(kafka, "registry", apply=self._apply, changed=self._tell)
        self.catalog = Catalog()
        self.unreadable = 0  # records of a version that this one cannot read
        self._changed = changed

    def wait(self, timeout_s: float = REQUEST_S) -> Catalog:
        """The catalogue, once everything that stood in the topic at the start is in it.

        Raises: Unreachable if that takes longer than `timeout_s`.
        """
        self.caught_up(timeout_s)
        return self.catalog

    def _apply(self, name: str, value: bytes | None) -> None:
        try:
            self.catalog.apply(name, value)
        except msgspec.MsgspecError as unknown:
            self.unreadable += 1
            log.warning("registry record ignored", extra={"key": name, "error": BadRecord(str(unknown)).message})

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed(self.catalog)


def read(kafka: KafkaSettings, timeout_s: float = REQUEST_S) -> Catalog:
    """One snapshot of the registry. Raises: Unreachable."""
    follower = Follower(kafka)
    follower.start()
    try:
        return follower.wait(timeout_s)
    finally:
        follower.stop()
