"""What the executor says of itself on `fleet`: at batch starts and at least every heartbeat, but not too often."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from typing import Literal

from confluent_kafka import KafkaException

from executors.machine import Machine
from executors.memory import loadable_bytes
from executors.settings import ExecutorSettings
from streams.clock import Micros
from streams.errors import Overloaded
from streams.outbox import Outbox
from streams.records import Dispatch, LaneReport, Telemetry, encode
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

ROUTERS_MAX = 256  # whose sequence numbers are kept; the least recent goes first


class Reporter:
    """Sends telemetry when something happened or time is up. `slots` is set by the reader's thread.

    orders: the epoch of the last order, and what is not as it says yet (Telemetry.pending).
    """

    def __init__(self, settings: ExecutorSettings, kafka: KafkaSettings, outbox: Outbox) -> None:
        self.slots: tuple[int, ...] = ()
        self.lanes: tuple[LaneReport, ...] = ()  # as said last
        self.state: Literal["starting", "ready", "draining", "gone"] = "starting"
        self.leaving: Container[str] = ()  # variants that routers should send nothing more
        self.orders: Callable[[], tuple[int, dict[str, str]]] = lambda: (0, {})
        self._settings = settings
        self._topic = kafka.topic("fleet")
        self._outbox = outbox
        self._memory_mb = loadable_bytes(settings) // 1_000_000
        self._received: dict[str, int] = {}
        self._sent_us = 0
        self._due = True
        self._now = True

    def received(self, dispatch: Dispatch) -> None:
        """Note how far a router's dispatches were read."""
        known = self._received.pop(dispatch.router, 0)
        self._received[dispatch.router] = max(known, dispatch.seq)
        if len(self._received) > ROUTERS_MAX:
            del self._received[next(iter(self._received))]

    def started(self) -> None:
        """A batch started: worth a record, but no more than one each `telemetry_min_ms`."""
        self._due = True

    def changed(self) -> None:
        """Slots, variants or the state changed: worth a record at once."""
        self._now = True

    def report(self, machine: Machine, *, now_us: Micros) -> None:
        """Send a record if one is due."""
        age_ms = abs(now_us - self._sent_us) / 1_000  # also where the wall clock was set back
        mine = self._settings
        if not (self._now or age_ms >= mine.heartbeat_ms or (self._due and age_ms >= mine.telemetry_min_ms)):
            return
        self._now = self._due = False
        self._sent_us = now_us
        machine.age(now_us=now_us)
        epoch, pending = self.orders()
        self.lanes = tuple(report for report in machine.reports(now_us=now_us) if report.variant not in self.leaving)
        telemetry = Telemetry(
            executor=mine.instance, pool=mine.pool, hardware=mine.hardware, slots=self.slots, cores=mine.cores,
            busy_us=machine.cores.expected_us(now_us), lanes=self.lanes, received=self._received, state=self.state,
            sent_us=now_us, epoch=epoch, pending=pending, memory_mb=self._memory_mb,
        )  # fmt: skip
        try:
            self._outbox.send(self._topic, encode(telemetry), key=mine.instance)
        except (KafkaException, Overloaded) as refused:
            log.warning("telemetry not sent", extra={"error": str(refused)})
