"""The executor's core loop: the world's events in, the machine's commands out, in one thread.

Others only put into the inbox: the reader (records, slots that come and go), the lanes (batches that ran), the
preparing threads (decoded items), the residency (variants that can run), the signal handler (stop).
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from typing import NamedTuple

from executors.answering import Answering, Held
from executors.backends.protocol import Backend
from executors.events import (
    Arrived,
    BatchFailed,
    BatchFinished,
    Command,
    Deliver,
    Draining,
    Expire,
    Fail,
    HandBack,
    Prepared,
    RunBatch,
    SlotsRevoked,
    Spoiled,
    Ticked,
    VariantLoaded,
    VariantUnloaded,
)
from executors.fetching import Fetching
from executors.job import Job
from executors.lanes import Lanes, Ran
from executors.machine import Machine
from executors.metrics import BatchRecord, ExecutorMetrics
from executors.preparing import Preparing, prepared
from executors.residency import Resident
from executors.settings import ExecutorSettings
from executors.telemetry import Reporter
from streams.claims import Claims
from streams.clock import NEVER, Micros, from_ms, to_ms, wall_us
from streams.contract import INTERNAL
from streams.errors import BadHeader, DeadlinePassed, HeadraceError, ModelFailed, WouldBeLate
from streams.outbox import Outbox
from streams.reader import Taken
from streams.records import Dispatch, decode_dispatch

log = logging.getLogger(__name__)

IDLE_S = 0.02  # the longest sleep: deliveries are acknowledged and telemetry goes out at least this often
LEAVE_MIN_S = 1.0  # a withdrawn variant stays, for what routers sent before they knew
LEAVE_MAX_S = 60.0  # and no longer than this: what still waits is handed back
DRAIN_INBOX = 64  # items handled before deadlines are looked at again


class Records(NamedTuple):
    taken: list[Taken]
    dealt: Callable[[], None]


class Revoked(NamedTuple):
    slots: list[int]


class Decoded(NamedTuple):
    job: Job
    item: object
    error: HeadraceError | None


class Call(NamedTuple):
    """Something that ended elsewhere and goes on in this loop."""

    call: Callable[[], None]


class Residents(NamedTuple):
    resident: Resident
    backends: list[Backend]


class Gone(NamedTuple):
    """Unload a variant: at once, handing back what waits for it, or once nothing does (`drain`)."""

    variant: str
    drain: bool = False


class Stop(NamedTuple):
    """Drain, and end the loop once nothing more is read and all is answered."""


class Quiet(NamedTuple):
    """Nothing more will be read."""


Item = Records | Revoked | Decoded | Call | Ran | Residents | Gone | Stop | Quiet


class Running(NamedTuple):
    """A batch on a lane. Units: wall clock."""

    command: RunBatch
    resident: Resident
    started_us: int


class Executor:
    """One loop; `run` returns after `Stop` and `Quiet` once all is answered or handed back, or after the grace."""

    def __init__(
        self,
        settings: ExecutorSettings,
        outbox: Outbox,
        answering: Answering,
        reporter: Reporter,
        metrics: ExecutorMetrics,
        in_flight: Callable[[], int],
        claims: Claims | None = None,
    ) -> None:
        self.inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.turned_at = time.monotonic()
        self.residents: dict[str, Resident] = {}
        self._settings = settings
        self._outbox = outbox
        self._answering = answering
        self._reporter = reporter
        self._metrics = metrics
        self._in_flight = in_flight
        self._fetching = Fetching(claims, lambda job, item, error: self._decoded(job, item, error, wall_us()))
        self._machine = Machine(
            cores=settings.cores, phi=settings.phi, reserve_us=from_ms(settings.reply_reserve_ms),
            window_drop=settings.window_drop,
        )  # fmt: skip
        self._lanes = Lanes(settings.cores, self.inbox.put)
        self._preparing = Preparing(
            settings.preparing_threads, lambda job, item, error: self.inbox.put(Decoded(job, item, error))
        )
        self._running: dict[int, Running] = {}
        self._ran: Ran | None = None
        self._values: list[bytes | ModelFailed] | None = None
        self._draining = False
        self._quiet = False
        self._leaving: dict[str, float] = {}  # variants that drain, and since when
        self._drain_until = 0.0

    def run(self) -> None:
        while not self._drained():
            self._turn()
        self._lanes.stop(1.0)
        self._preparing.stop(1.0)

    def say(self) -> None:
        """Send telemetry now; for the end, when the loop has."""
        self._reporter.report(self._machine, now_us=wall_us())

    def _turn(self) -> None:
        now_us = wall_us()
        wait_s = min(IDLE_S, max(0.0, (self._machine.next_wake_us - now_us) / 1e6))
        try:
            item: Item | None = self.inbox.get(timeout=wait_s) if wait_s else self.inbox.get_nowait()
        except queue.Empty:
            item = None
        for _ in range(DRAIN_INBOX):
            if item is None:
                break
            self._take(item)
            try:
                item = self.inbox.get_nowait()
            except queue.Empty:
                item = None
        else:
            if item is not None:
                self._take(item)
        now_us = wall_us()
        if self._machine.next_wake_us <= now_us:
            self._perform(self._machine.handle(Ticked(), now_us=now_us))
        if self._leaving:
            self._unload_drained(now_us)
        self._outbox.poll()
        self._answering.expire(now_us)
        self._reporter.report(self._machine, now_us=now_us)
        self._metrics.count(self._answering.outcomes)
        self.turned_at = time.monotonic()

    def _take(self, item: Item) -> None:
        now_us = wall_us()
        match item:
            case Records(taken, dealt):
                self._arrived(taken, now_us)
                dealt()
            case Ran():
                self._finished(item, now_us)
            case Decoded(job, decoded, error):
                self._decoded(job, decoded, error, now_us)
            case Call(call):
                call()
            case Revoked(slots):
                self._perform(self._machine.handle(SlotsRevoked(frozenset(slots)), now_us=now_us))
            case Residents(resident, backends):
                self._loaded(resident, backends, now_us)
            case Gone(variant, drain):
                if drain:
                    self._leaving.setdefault(variant, time.monotonic())
                else:
                    self._unload(variant, now_us)
            case Stop():
                self._draining = True
                self._drain_until = time.monotonic() + self._settings.grace_ms / 1_000
                self._reporter.state = "draining"
                self._reporter.changed()
                self._perform(self._machine.handle(Draining(), now_us=now_us))
            case Quiet():
                self._quiet = True

    def _unload(self, variant: str, now_us: Micros) -> None:
        self._leaving.pop(variant, None)
        self._perform(self._machine.handle(VariantUnloaded(variant), now_us=now_us))
        self.residents.pop(variant, None)
        if not any(running.command.variant == variant for running in self._running.values()):
            self._lanes.remove(variant)
        self._reporter.changed()

    def _unload_drained(self, now_us: Micros) -> None:
        """Unload what was withdrawn long enough ago for routers to know, and has nothing left; or had its time."""
        busy = {report.variant for report in self._machine.reports() if report.queued or report.running}
        now = time.monotonic()
        for variant, since in list(self._leaving.items()):
            if now - since > (LEAVE_MAX_S if variant in busy else LEAVE_MIN_S):
                self._unload(variant, now_us)

    def _arrived(self, taken: list[Taken], now_us: Micros) -> None:
        jobs: list[Job] = []
        for one in taken:
            held = self._held(one)
            if held is None:
                continue
            dispatch = held.dispatch
            self._reporter.received(dispatch)
            resident = self.residents.get(dispatch.variant)
            # What the former owner of the slot may have had goes back. What is marked only because this process was
            # stopped for a while stays and runs: handed back, it would come here again.
            inherited = one.offset < one.prefix.fence
            if inherited and now_us >= dispatch.deadline_us and not dispatch.late_ok:
                self._answering.refuse(held, _passed(dispatch, now_us))
            elif inherited or resident is None or self._draining:
                self._answering.hand_back(held, marked=one.marked)
            elif not (dispatch.keep and dispatch.marked and self._answering.again(held)):
                job = Job(
                    variant=dispatch.variant, deadline_us=dispatch.deadline_us, queued_us=now_us,
                    slot=one.prefix.partition, late_ok=dispatch.late_ok, ref=held,
                )  # fmt: skip
                if self._prepare(job, held, resident):
                    jobs.append(job)
        if jobs:
            self._perform(self._machine.handle(Arrived(jobs), now_us=now_us))

    def _held(self, one: Taken) -> Held | None:
        headers = one.message.headers() or []
        raw = next((value for name, value in reversed(headers) if name == INTERNAL), None)
        try:
            dispatch = decode_dispatch(raw or b"")
        except ValueError as foreign:  # msgspec's errors are ValueErrors
            error = BadHeader(f"a work record needs the header {INTERNAL!r} with a decision: {foreign}")
            self._answering.dead_letter(one.message, one.prefix, one.offset, error)
            return None
        return Held(one.message, one.prefix, one.offset, dispatch, dispatch.marked or one.marked)

    def _prepare(self, job: Job, held: Held, resident: Resident) -> bool:
        """Decode now, or let a thread do it; False if the payload is spoiled and answered."""
        dispatch = held.dispatch
        value = held.message.value() or b""
        if not value:
            held.error = self._fetching.begin(job, held, resident.prepare)
        elif resident.prepare.heavy(dispatch.content_type):
            job.ready = False
            self._preparing.submit(job, resident.prepare, value, dispatch.content_type)
            return True
        else:
            held.item, held.error = prepared(resident.prepare, value, dispatch.content_type)
        if held.error is not None:
            self._answering.refuse(held, held.error)
        return held.error is None

    def _decoded(self, job: Job, item: object, error: HeadraceError | None, now_us: Micros) -> None:
        held: Held = job.ref
        held.item, held.error = item, error
        event = Prepared([job]) if error is None else Spoiled(job)
        self._perform(self._machine.handle(event, now_us=now_us))

    def _finished(self, ran: Ran, now_us: Micros) -> None:
        running = self._running.pop(ran.batch_id)
        self._record(running, ran)
        self._ran, self._values = ran, None
        event = BatchFailed(ran.batch_id) if ran.error else BatchFinished(ran.batch_id, ran.took_us)
        # The next batch starts before this one's answers are written.
        self._perform(self._machine.handle(event, now_us=now_us), running)
        self._ran = None

    def _loaded(self, resident: Resident, backends: list[Backend], now_us: Micros) -> None:
        name = resident.variant.name
        self._leaving.pop(name, None)
        self.residents[name] = resident
        self._lanes.add(name, backends)
        event = VariantLoaded(variant=name, latency=resident.offer.latency, width=resident.variant.width)
        self._perform(self._machine.handle(event, now_us=now_us))
        self._reporter.changed()

    def _perform(self, commands: list[Command], finished: Running | None = None) -> None:
        for command in commands:
            if isinstance(command, RunBatch):
                self._start(command)
        for command in commands:
            match command:
                case RunBatch():
                    pass
                case Deliver(job, _, index):
                    assert finished is not None
                    self._deliver(job, index, finished)
                case Expire(job, code):
                    held: Held = job.ref
                    error = _passed(held.dispatch, wall_us()) if code == "deadline_passed" else _late(held.dispatch)
                    self._answering.refuse(held, error)
                case Fail(job, batch_id):
                    self._fail(job, batch_id)
                case HandBack(job):
                    self._answering.hand_back(job.ref, marked=False)

    def _start(self, command: RunBatch) -> None:
        started_us = wall_us()
        self._running[command.batch_id] = Running(command, self.residents[command.variant], started_us)
        for job in command.jobs:
            job.ref.started_us = started_us
        self._lanes.submit(command.batch_id, command.variant, [job.ref.item for job in command.jobs])
        self._reporter.started()

    def _deliver(self, job: Job, index: int, running: Running) -> None:
        held: Held = job.ref
        assert self._ran is not None
        if self._values is None:
            ids = [one.ref.dispatch.query_id for one in running.command.jobs]
            self._values = self._postprocess(running.resident, ids)
        value = self._values[index]
        if isinstance(value, ModelFailed):
            self._answering.refuse(held, value)
        else:
            size, took_us = len(running.command.jobs), self._ran.took_us
            self._answering.ok(held, running.resident, value, size=size, took_us=took_us, queued_us=job.queued_us)

    def _postprocess(self, resident: Resident, ids: list[str]) -> list[bytes | ModelFailed]:
        assert self._ran is not None
        assert self._ran.outputs is not None
        try:
            return resident.finish(self._ran.outputs, ids)
        except ModelFailed as failed:
            return [failed] * len(ids)
        except Exception as bug:
            log.exception("postprocessing raised", extra={"variant": resident.variant.name})
            return [ModelFailed(f"postprocessing: {type(bug).__name__}: {bug}")] * len(ids)

    def _fail(self, job: Job, batch_id: int | None) -> None:
        held: Held = job.ref
        error = held.error
        if batch_id is not None and self._ran is not None and self._ran.error is not None:
            error = self._ran.error
        self._answering.refuse(held, error or ModelFailed("the model failed on this query"))

    def _record(self, running: Running, ran: Ran) -> None:
        command = running.command
        longest_us = max(running.started_us - job.queued_us for job in command.jobs)
        slack_ms = None if command.slack_us >= NEVER // 2 else round(to_ms(command.slack_us), 2)
        self._metrics.batch(
            BatchRecord(
                command.variant, len(command.jobs), command.target, command.reason, slack_ms, to_ms(ran.took_us)
            ),
            queue_s=longest_us / 1e6,
        )

    def _drained(self) -> bool:
        if not self._draining:
            return False
        return (self._quiet and self._in_flight() == 0) or time.monotonic() > self._drain_until


def _passed(dispatch: Dispatch, now_us: int) -> DeadlinePassed:
    return DeadlinePassed(f"the deadline passed {to_ms(now_us - dispatch.deadline_us):.1f} ms ago")


def _late(dispatch: Dispatch) -> WouldBeLate:
    left_ms = to_ms(dispatch.deadline_us - wall_us())
    return WouldBeLate(f"{left_ms:.1f} ms were left, less than its batch on {dispatch.variant!r} takes")
