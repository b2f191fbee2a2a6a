"""One executor process: residency, then the group, then the loop, until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time

from executors.answering import Answering
from executors.executor import Executor
from executors.inbox import Call, Gone, Quiet, Records, Residents, Revoked, Stop
from executors.kept import Kept
from executors.metrics import ExecutorMetrics
from executors.outlet import Outlet
from executors.residency import Residency
from executors.settings import ExecutorSettings
from executors.telemetry import Reporter
from streams.blobs import BlobSettings
from streams.claims import Claims
from streams.collector import calm
from streams.errors import BadSettings
from streams.observe import Observatory, ObserveSettings
from streams.reader import Reader
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

STALLED_S = 10.0  # without a turn of the loop, the process is not healthy
READ_ON_S = 0.3  # after `draining` was said, for what routers had already sent


class Process:
    """Builds the parts and ties them together."""

    def __init__(
        self, settings: ExecutorSettings, kafka: KafkaSettings, observe: ObserveSettings, blobs: BlobSettings
    ) -> None:
        self._settings = settings
        self._outlet = Outlet(kafka, lambda held: self._reader.finish_all(held))
        self._metrics = ExecutorMetrics()
        self._reporter = Reporter(settings, kafka, self._outlet)
        self._reader = Reader(
            kafka.consumer(f"executor.{settings.pool}", **{"queued.min.messages": 64}),
            kafka.topic(f"work.{settings.pool}"),
            lambda taken: self._executor.inbox.put(Records(taken)),
            in_flight_max=settings.in_flight_max,
            batch_max=256,
            session_s=kafka.session_ms / 1_000,
            grace_s=1.0,
            on_owned=self._owned,
            on_revoked=lambda slots: self._executor.inbox.put(Revoked(slots)),
            name="intake",
        )
        self._claims = Claims.opened(blobs, later=lambda call: self._executor.inbox.put(Call(call)))
        answering = Answering(
            kafka, self._outlet, finish=self._reader.finish,
            kept=Kept(count_max=settings.kept_max, bytes_max=settings.kept_bytes), attempts_max=settings.attempts_max,
            outcomes=self._metrics.totals, claims=self._claims, emulates=settings.emulated,
        )  # fmt: skip
        self._executor = Executor(
            settings, self._outlet, answering, self._reporter, self._metrics, self._reader, self._claims
        )
        inbox = self._executor.inbox
        self._residency = Residency(
            settings, kafka,
            loaded=lambda resident, backends, more: inbox.put(Residents(resident, backends, more)),
            unloaded=lambda variant, drain, done: inbox.put(Gone(variant, drain, done)),
        )  # fmt: skip
        self._reporter.orders = self._residency.orders
        self._observatory = Observatory(
            observe, self._metrics.registry, healthy=self._healthy, ready=self._ready,
            pages={"/batches": self._metrics.page},
        )  # fmt: skip
        self._stopping = threading.Event()

    def run(self) -> int:
        """Until a signal; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        self._observatory.start()
        loop = threading.Thread(target=self._executor.run, name="loop", daemon=True)
        loop.start()
        self._residency.start()
        self._wait_for_variants()
        if not self._stopping.is_set():
            log.info("executor ready", extra={"variants": len(self._executor.residents)})
            self._reporter.state = "ready"
            calm()
            self._reader.start()
        status = self._watch(loop)
        self._leave(loop)
        return status

    def _wait_for_variants(self) -> None:
        """The group is joined only with something to run, since a member without variants hands everything back.

        One that waits for orders joins at once: nobody sends to it, and its first lane is not to wait for a rebalance.
        """
        while not self._stopping.is_set() and not self._residency.complete.wait(0.1):
            if not self._residency.is_alive():
                log.error("the registry could not be read")
                self._stopping.set()
        if not self._settings.variants and not self._executor.residents:
            log.info("waiting for an order")

    def _watch(self, loop: threading.Thread) -> int:
        while not self._stopping.wait(0.2):
            self._observe()
            if self._reader.failed:
                log.error("intake failed", extra={"error": self._reader.failed})
                return 1
            if not loop.is_alive():
                log.error("the loop ended")
                return 1
        return 0

    def _leave(self, loop: threading.Thread) -> None:
        """Say so, hand back what waits, finish what runs, flush, commit, leave."""
        self._executor.inbox.put(Stop())
        if self._reader.is_alive():
            time.sleep(READ_ON_S)
            self._reader.hold()
        self._executor.inbox.put(Quiet())
        loop.join(self._settings.grace_ms / 1_000 + 5.0)
        self._outlet.flush(5.0)
        if self._reader.is_alive():
            self._reader.stop()
            self._reader.join(10.0)
        self._reporter.state = "gone"
        self._reporter.changed()
        self._executor.say()
        self._residency.stop()
        if self._claims is not None:
            self._claims.close(0.0)
        left = self._outlet.close()
        self._observatory.stop()
        log.info("executor left", extra={"unsent": left})

    def _owned(self, slots: list[int]) -> None:
        self._reporter.slots = tuple(slots)
        self._reporter.changed()

    def _observe(self) -> None:
        self._metrics.in_flight.set(self._reader.in_flight)
        self._metrics.slots.set(len(self._reporter.slots))
        self._metrics.resident.set(len(self._executor.residents))
        self._metrics.drift.clear()  # of variants that are gone
        for lane in self._reporter.lanes:
            self._metrics.drift.labels(lane.variant).set(lane.drift)

    def _healthy(self) -> str | None:
        age = time.monotonic() - self._executor.turned_at
        return f"the loop has not turned for {age:.0f} s (limit {STALLED_S:.0f})" if age > STALLED_S else None

    def _ready(self) -> str | None:
        if not self._residency.complete.is_set():
            return "loading variants"
        if not self._executor.residents:
            return f"no variant is resident; refused: {self._residency.refused}"
        return None if self._reporter.slots else "no slot is owned yet"


def run(
    settings: ExecutorSettings, kafka: KafkaSettings, observe: ObserveSettings, blobs: BlobSettings | None = None
) -> None:
    """Run one executor until SIGTERM or SIGINT; raises SystemExit with its status.

    Raises: BadSettings on CPUs that it may not use.
    """
    _pin(settings)
    sys.exit(Process(settings, kafka, observe, blobs or BlobSettings()).run())


def _pin(settings: ExecutorSettings) -> None:
    """Before any library starts threads, which inherit it. An emulated machine has cores that are not here."""
    if settings.cpus and not settings.emulated:
        try:
            os.sched_setaffinity(0, settings.cpus)
        except OSError as refused:
            usable = sorted(os.sched_getaffinity(0))
            raise BadSettings(f"[executor] cpus = {list(settings.cpus)}: this process may use {usable}") from refused
