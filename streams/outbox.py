"""An idempotent producer that outlives a fatal error.

Delivery callbacks run in `poll`. A busy loop calls it itself: each callback takes the interpreter's lock anew, and a
poll thread beside a busy one waits a switch interval (5 ms) for every single message. Others let a thread do it.

librdkafka retries what can be retried. After a fatal idempotence error the handle is dead for good and raises
out of `poll`; the pump then builds a new one, and every record still queued reports its failure to its callback.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.errors import Overloaded
from streams.rdlog import log as rdkafka

log = logging.getLogger(__name__)

Headers = list[tuple[str, str | bytes | None]]
Done = Callable[[KafkaError | None, Message], None]

FULL_WAIT_S = 5.0  # how long `send` waits for room in librdkafka's queue before it gives up


class Outbox:
    """Sends records; `done(error, message)` is called once for each, in `poll`.

    threaded: poll in a thread of its own; else the owner calls `poll`, at least every 100 ms.
    A callback must be short and must not raise; what it raises is logged.
    """

    def __init__(self, config: dict[str, Any], *, name: str = "outbox", threaded: bool = True) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._producer = Producer(config, logger=rdkafka)
        self._stop_requested = threading.Event()
        self.rebuilt = 0
        self._pump = threading.Thread(target=self._run, name=name, daemon=True) if threaded else None
        if self._pump is not None:
            self._pump.start()

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | str | None = None,
        partition: int = -1,
        headers: Headers | None = None,
        done: Done | None = None,
    ) -> None:
        """Queue one record.

        Raises: KafkaException at once for what can never be sent (larger than message.max.bytes);
                Overloaded if the local queue stays full for FULL_WAIT_S.
        """
        give_up = 0.0
        while True:
            try:
                self._producer.produce(
                    topic,
                    value,
                    key=key,
                    partition=partition,
                    headers=headers,
                    on_delivery=done,
                )
            except BufferError as full:
                now = time.monotonic()
                give_up = give_up or now + FULL_WAIT_S
                if now > give_up:
                    raise Overloaded(f"the producer's queue stayed full for {FULL_WAIT_S:g} s") from full
                self.poll(0.002)
            except KafkaException as refused:
                if not refused.args[0].fatal():
                    raise
                self._rebuild()
            else:
                return

    def __len__(self) -> int:
        return len(self._producer)

    def partitions(self, topic: str, timeout_s: float) -> int | None:
        """How many partitions a topic has; None if it does not exist. Blocks up to `timeout_s`.

        Raises: KafkaException if the cluster does not answer.
        """
        metadata = self._producer.list_topics(topic, timeout=timeout_s).topics.get(topic)
        return None if metadata is None or metadata.error is not None else len(metadata.partitions)

    def flush(self, timeout_s: float) -> int:
        """Wait for what is queued; returns how many records are still there."""
        return self._producer.flush(timeout_s)

    def close(self, timeout_s: float = 10.0) -> int:
        left = self.flush(timeout_s)
        self._stop_requested.set()
        if self._pump is not None:
            self._pump.join(timeout_s)
        return left

    def poll(self, timeout_s: float = 0.0) -> None:
        """Run the callbacks that are due."""
        try:
            self._producer.poll(timeout_s)
        except Exception as broken:  # noqa: BLE001 - a fatal error, or a SystemError around a callback's own
            fatal = isinstance(broken, KafkaException) and broken.args[0].fatal()
            log.warning("producer error", extra={"error": str(broken), "fatal": fatal})
            if fatal:
                self._rebuild()

    def _run(self) -> None:
        while not self._stop_requested.is_set():
            self.poll(0.05)

    def _rebuild(self) -> None:
        with self._lock:
            old = self._producer
            try:
                old.poll(0)
            except KafkaException:
                log.info("producer is beyond repair, starting a new one")
            else:
                return  # somebody else was here first
            self._producer = Producer(self._config, logger=rdkafka)
            self.rebuilt += 1
        try:
            old.purge(in_queue=True, in_flight=True)
            old.flush(1.0)
        except KafkaException as dead:
            log.info("purged the dead producer", extra={"error": str(dead)})
