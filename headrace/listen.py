"""What the fleet says of itself, heard for a moment: telemetry of executors, signs of life of routers."""

from __future__ import annotations

import logging
import time
from typing import NamedTuple, Self

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.clock import wall_us
from streams.errors import Unreachable
from streams.rdlog import log as rdlog
from streams.records import RouterReport, Telemetry, decode_router, decode_telemetry
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

BACK_MS = 2_000  # how far back to start: a few heartbeats of everyone
ROUTER_KEY = b"router:"
REQUEST_S = 10.0


class Heard(NamedTuple):
    """The last word of everyone, by name."""

    executors: dict[str, Telemetry]
    routers: dict[str, RouterReport]

    @property
    def ready(self) -> list[Telemetry]:
        """Executors that own slots and take work."""
        return [t for t in self.executors.values() if t.state == "ready" and t.slots]


class Ear:
    """Reads the `fleet` topic from two seconds ago on. Use it as a context manager; not thread-safe."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Find the place to start.

        Raises: Unreachable if the cluster does not answer, or has no such topic.
        """
        self.heard = Heard({}, {})
        self._topic = kafka.topic("fleet")
        self._consumer = Consumer(
            kafka.observer(),
            logger=rdlog,
        )
        try:
            self._consumer.assign([self._start()])
        except KafkaException as silent:
            self._consumer.close()
            raise Unreachable(f"{self._topic} at {kafka.bootstrap} cannot be read: {silent.args[0].str()}") from silent

    def listen(self, seconds: float) -> Heard:
        """Go on hearing for so long, and return all that was heard so far."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            message = self._consumer.poll(left)
            if message is not None and message.error() is None:
                self._take(message.key(), message.value())
        return self.heard

    def close(self) -> None:
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def _start(self) -> TopicPartition:
        since = TopicPartition(self._topic, 0, wall_us() // 1_000 - BACK_MS)
        start = self._consumer.offsets_for_times([since], timeout=REQUEST_S)[0]
        if start.error is not None:
            raise KafkaException(start.error)
        return start

    def _take(self, key: bytes | str | None, value: bytes | None) -> None:
        name = key.encode() if isinstance(key, str) else key or b""
        try:
            if name.startswith(ROUTER_KEY):
                report = decode_router(value or b"")
                self.heard.routers[report.router] = report
            else:
                telemetry = decode_telemetry(value or b"")
                self.heard.executors[telemetry.executor] = telemetry
        except msgspec.MsgspecError as unreadable:
            log.warning("fleet record ignored", extra={"key": str(key), "error": str(unreadable)})
