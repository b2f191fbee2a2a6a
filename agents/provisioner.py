"""The provisioner: keeps as many machines of one pool as the last order says, within its own bounds.

The order comes from `scaling`, signs of life from `fleet`; what to do is provisioning.py's to say, and how it is done
a `Machines`' (machines.py for this machine).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from agents.machines import Machines
from agents.provisioner_settings import ProvisionerSettings
from agents.provisioning import Bounds, Drain, Kill, Machine, Start, decide, phase, within
from streams.clock import Micros
from streams.errors import ServerFault
from streams.follow import Follow
from streams.hearing import Hearing, Word
from streams.outbox import Outbox
from streams.records import PoolReport, Telemetry, encode
from streams.restarts import GiveUp, RestartAt, Restarts
from streams.scaling import PoolOrder, decode_order
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

TURN_S = 0.25
REPORT_S = 1.0
KNOWN_S = 5.0
HEARD_BACK_MS = 5_000
AGAIN_US = 60_000_000  # until a pool whose machines ended too often is tried again


class Provisioner:
    """`turn` is one look at everything; `run` does so until `stop`."""

    def __init__(self, settings: ProvisionerSettings, kafka: KafkaSettings, machines: Machines) -> None:
        self._settings = settings
        self._kafka = kafka
        self._keeper = machines
        most = min(settings.most, kafka.slots)
        if most < settings.most:
            log.warning(
                "fewer machines than set: each needs a slot",
                extra={"pool": settings.pool, "most": settings.most, "slots": kafka.slots},
            )
        self._bounds = Bounds(
            min(settings.least, most), most, round(settings.boot_s * 1e6), round(settings.silence_s * 1e6),
            round(settings.drain_s * 1e6), settings.starts_max,
        )  # fmt: skip
        self.machines: dict[str, Machine] = {}
        self.order: PoolOrder | None = None
        self._restarts = Restarts(restarts_max=settings.failures_max)
        self._not_before_us = 0
        self._number = 0
        self._reported_at = 0.0
        self._key = f"pool:{settings.pool}"
        self._stop_requested = threading.Event()
        self._follow = Follow(kafka, "scaling", apply=self._apply, changed=lambda: None)
        self._hearing: Hearing | None = None
        self._outbox: Outbox | None = None

    @property
    def wanted(self) -> int:
        return within(self._settings.first if self.order is None else self.order.machines, self._bounds)

    def stop(self) -> None:
        self._stop_requested.set()

    def run(self, now_us: Callable[[], int] = lambda: time.monotonic_ns() // 1_000) -> None:
        """Until `stop`; then every machine drains.

        Raises: Unreachable if the orders cannot be read at the start.
        """
        self._follow.start()
        try:
            self._follow.caught_up(KNOWN_S)
            self._hearing = Hearing(self._kafka, back_ms=HEARD_BACK_MS)
            self._outbox = Outbox(self._kafka.producer(), name="pool")
            while not self._stop_requested.wait(TURN_S):
                self.turn(self._hearing.listen(), now_us=Micros(now_us()))
        finally:
            self._keeper.close()
            self._follow.stop()
            if self._hearing is not None:
                self._hearing.close()
            if self._outbox is not None:
                self._outbox.close()

    def turn(self, words: Sequence[Word], *, now_us: Micros) -> None:
        """Take note of what was heard and what ended, and do what follows from it."""
        for word in words:
            if isinstance(word, Telemetry) and word.pool == self._settings.pool:
                self._heard(word, now_us)
        for gone in self._keeper.ended():
            self.machines.pop(gone.name, None)
            if not gone.told:
                log.warning(
                    "machine ended", extra={"machine": gone.name, "status": gone.status, "last_lines": gone.last_lines}
                )
                self._failed(now_us)
        order = self.order
        acts = decide(
            self.wanted, list(self.machines.values()), self._bounds,
            leaving=() if order is None else order.leaving, now_us=now_us,
        )  # fmt: skip
        for act in acts:
            match act:
                case Start(count):
                    self._start(count, now_us)
                case Drain(name):
                    log.info("machine drains", extra={"machine": name})
                    self.machines[name] = self.machines[name]._replace(drain_us=now_us)
                    self._keeper.drain(name)
                case Kill(name, why):
                    log.warning("machine given up", extra={"machine": name, "why": why})
                    if self.machines[name].drain_us is None:
                        self._failed(now_us)
                    self._keeper.kill(name)
        self._report(now_us)

    def _start(self, count: int, now_us: Micros) -> None:
        for _ in range(count):
            if now_us < self._not_before_us:
                return
            self._number += 1
            name = f"{self._settings.pool}-{self._number}"
            try:
                self._keeper.start(name)
            except ServerFault as refused:
                log.warning("machine not started", extra={"machine": name, "error": refused.message})
                self._failed(now_us)
            else:
                self.machines[name] = Machine(name, now_us)

    def _heard(self, word: Telemetry, now_us: Micros) -> None:
        """A word of one of ours; of another's with a name like ours, the next ones get other names."""
        machine = self.machines.get(word.executor)
        if machine is not None and word.state in ("ready", "draining"):
            self.machines[word.executor] = machine._replace(heard_us=now_us)
        prefix, _, number = word.executor.rpartition("-")
        if machine is None and prefix == self._settings.pool and number.isdigit():
            self._number = max(self._number, int(number))

    def _failed(self, now_us: Micros) -> None:
        match self._restarts.ended(now_us=now_us):
            case RestartAt(at_us):
                self._not_before_us = at_us
            case GiveUp(ends):
                self._not_before_us = now_us + AGAIN_US
                log.error("MACHINES END TOO OFTEN; none is started for a minute", extra={"ends_in_60_s": ends})

    def _apply(self, name: str, value: bytes | None) -> None:
        if name != self._key:
            return
        if value is None:
            self.order = None
            return
        try:
            order = decode_order(value)
        except msgspec.MsgspecError as unreadable:
            log.warning("order ignored", extra={"key": name, "error": str(unreadable)})
            return
        if not isinstance(order, PoolOrder) or order.key != self._key:
            log.warning("order ignored", extra={"key": name, "error": f"it is for {order.key}"})
        elif self.order is None or order.epoch >= self.order.epoch:
            self.order = order

    def _report(self, now_us: Micros) -> None:
        now = time.monotonic()
        if self._outbox is None or now - self._reported_at < REPORT_S:
            return
        self._reported_at = now
        phases = [phase(machine, self._bounds, now_us=now_us) for machine in self.machines.values()]
        report = PoolReport(
            pool=self._settings.pool, epoch=0 if self.order is None else self.order.epoch, wanted=self.wanted,
            booting=phases.count("booting"), ready=phases.count("ready"), draining=phases.count("draining"),
            least=self._bounds.least, most=self._bounds.most, failing=now_us < self._not_before_us,
            cores=self._settings.cores,
        )  # fmt: skip
        self._outbox.send(self._kafka.topic("fleet"), encode(report), key=self._key)
