"""The executor's core loop: the world's events in, the machine's commands out, in one thread.

Others only put into the inbox (inbox.py): the reader, the lanes, the preparing threads, the residency, the signal
handler. While there is a backlog the loop reads on by itself: a reader beside it would wait for the interpreter's
lock, and make it wait, at every record produced.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol, assert_never

from executors.answering import Answering
from executors.batches import Batches, Running
from executors.events import (
    Arrived,
    BatchFailed,
    BatchFinished,
    Command,
    Decode,
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
from executors.held import Held
from executors.inbox import Call, Decoded, Gone, Item, Quiet, Records, Residents, Revoked, Stop
from executors.intake import Intake, passed
from executors.job import Job
from executors.lanes import Lanes, Ran
from executors.machine import Machine
from executors.metrics import ExecutorMetrics
from executors.outlet import Outlet
from executors.preparing import Preparing
from executors.residency import Resident
from executors.settings import ExecutorSettings
from executors.telemetry import Reporter
from streams.claims import Claims
from streams.clock import Micros, from_ms, to_ms, wall_us
from streams.errors import HeadraceError, WouldBeLate
from streams.reader import Taken
from streams.records import Dispatch

log = logging.getLogger(__name__)

IDLE_S = 0.02  # the longest sleep: deliveries are acknowledged and telemetry goes out at least this often
HOLD_S = 0.001  # the longest sleep while answers wait for the last ones to arrive
READ_S = 0.001  # a brisk stream is waited for so long while nobody works, and read so often while someone does
READ_FULL_S = 0.004  # the same while every core is taken, or until one is free
LEAVE_MIN_S = 1.0  # a withdrawn variant stays, for what routers sent before they knew
LEAVE_MAX_S = 60.0  # and no longer than this: what still waits is handed back
DRAIN_INBOX = 64  # items handled before deadlines are looked at again
QUICK_MAX = 16  # quick batches run before the inbox is looked at again


class Source(Protocol):
    """The reader, as the loop sees it (streams/reader.py)."""

    @property
    def in_flight(self) -> int: ...

    @property
    def brisk(self) -> bool: ...

    def more(self, rest: Callable[[float], object] = ..., *, wait_s: float = ...) -> list[Taken]: ...

    def dealt(self) -> None: ...


class Leaving(NamedTuple):
    """A variant that drains, since when, and whom to tell."""

    since: float
    done: Callable[[], None] | None


class Executor:
    """One loop; `run` returns after `Stop` and `Quiet` once all is answered or handed back, or after the grace."""

    def __init__(
        self,
        settings: ExecutorSettings,
        outlet: Outlet,
        answering: Answering,
        reporter: Reporter,
        metrics: ExecutorMetrics,
        source: Source,
        claims: Claims | None = None,
    ) -> None:
        self.inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.turned_at = time.monotonic()
        self.residents: dict[str, Resident] = {}
        self._settings = settings
        self._outlet = outlet
        self._answering = answering
        self._reporter = reporter
        self._source = source
        self._machine = Machine(
            cores=settings.cores, phi=settings.phi, reserve_us=from_ms(settings.reply_reserve_ms),
            window_drop=settings.window_drop, decoders=settings.preparing_threads,
        )  # fmt: skip
        self._lanes = Lanes(settings.cores, self.inbox.put)
        self._batches = Batches(self._lanes, answering, metrics)
        self._preparing = Preparing(settings.preparing_threads, lambda *got: self.inbox.put(Decoded(*got)))
        fetching = Fetching(claims, self._decoded)
        self._intake = Intake(answering, reporter, fetching, self.residents)
        self._reads = False  # this loop has the turn to read
        self._draining = False
        self._quiet = False
        self._leaving: dict[str, Leaving] = {}  # variants that drain
        reporter.leaving = self._leaving
        self._drain_until = 0.0

    def run(self) -> None:
        while not self._drained():
            self._turn()
        if self._reads:
            self._source.dealt()
        self._lanes.stop(1.0)
        self._preparing.stop(1.0)

    def say(self) -> None:
        """Send telemetry now; for the end, when the loop has."""
        self._reporter.report(self._machine, now_us=wall_us())

    def _turn(self) -> None:
        self._listen(self._read_on() if self._reads else IDLE_S)

    def _read_on(self) -> float:
        """Take what is there; returns for how long to listen before reading on. The turn goes back once it is quiet."""
        taken = self._source.more(self._listen, wait_s=self._free_s())
        if taken:
            self._arrived(taken)
        elif not self._source.brisk:
            self._reads = False
            self._source.dealt()
            return IDLE_S
        if not self._source.brisk or not self._busy():
            return 0.0
        return READ_S if self._machine.cores.free else READ_FULL_S

    def _busy(self) -> bool:
        """Whether others work for this loop: they put into the inbox what comes of it."""
        return self._batches.open or self._machine.preparing

    def _free_s(self) -> float:
        """How long this loop may wait for records instead of for the inbox, into which nobody works now."""
        if not self._source.brisk or self._busy() or not self.inbox.empty():
            return 0.0
        return min(READ_S, max(0.0, (self._machine.next_wake_us - wall_us()) / 1e6))

    def _listen(self, wait_s: float) -> None:
        """Wait for an item, handle what came, and do what is due."""
        if self._outlet.holds:
            wait_s = min(wait_s, HOLD_S)
        if self._batches.quick:
            wait_s = 0.0
        else:
            wait_s = min(wait_s, max(0.0, (self._machine.next_wake_us - wall_us()) / 1e6))
        try:
            item = self.inbox.get(timeout=wait_s) if wait_s else self.inbox.get_nowait()
            for _ in range(DRAIN_INBOX):
                self._take(item)
                item = self.inbox.get_nowait()
            self._take(item)
        except queue.Empty:
            pass
        for _ in range(QUICK_MAX):
            if not self._batches.quick:
                break
            self._finished(self._batches.run_quick(), wall_us())
        now_us = wall_us()
        if self._machine.next_wake_us <= now_us:
            self._perform(self._machine.handle(Ticked(), now_us=now_us))
        if self._leaving:
            self._unload_drained(now_us)
        self._outlet.poll()
        self._answering.turn(now_us)
        self._reporter.report(self._machine, now_us=now_us)
        self.turned_at = time.monotonic()

    def _take(self, item: Item) -> None:
        now_us = wall_us()
        match item:
            case Records(taken):
                self._reads = True
                self._arrived(taken)
            case Ran():
                self._finished(item, now_us)
            case Decoded():
                self._decoded(*item)
            case Call(call):
                call()
            case Revoked(slots):
                self._perform(self._machine.handle(SlotsRevoked(frozenset(slots)), now_us=now_us))
            case Residents():
                self._loaded(item, now_us)
            case Gone(variant, drain, done):
                self._leaving[variant] = Leaving(time.monotonic(), done)
                if not drain:
                    self._unload(variant, now_us)
            case Stop():
                self._draining = True
                self._drain_until = time.monotonic() + self._settings.grace_ms / 1_000
                self._reporter.state = "draining"
                self._reporter.changed()
                self._perform(self._machine.handle(Draining(), now_us=now_us))
            case Quiet():
                self._quiet = True
            case _:
                assert_never(item)

    def _unload(self, variant: str, now_us: Micros) -> None:
        self._perform(self._machine.handle(VariantUnloaded(variant), now_us=now_us))
        self.residents.pop(variant, None)
        self._lanes.remove(variant)
        self._left(variant)
        self._reporter.changed()

    def _left(self, variant: str) -> None:
        leaving = self._leaving.pop(variant, None)
        if leaving is not None and leaving.done is not None:
            leaving.done()

    def _unload_drained(self, now_us: Micros) -> None:
        """Unload what was withdrawn long enough ago for routers to know, and has nothing left; or had its time."""
        busy = {report.variant for report in self._machine.reports(now_us=now_us) if report.queued or report.running}
        now = time.monotonic()
        for variant, leaving in list(self._leaving.items()):
            if now - leaving.since > (LEAVE_MAX_S if variant in busy else LEAVE_MIN_S):
                self._unload(variant, now_us)

    def _arrived(self, taken: list[Taken]) -> None:
        now_us = wall_us()
        jobs = self._intake.jobs(taken, draining=self._draining, now_us=now_us)
        if jobs:
            self._perform(self._machine.handle(Arrived(jobs), now_us=now_us))

    def _decoded(self, job: Job, item: object, error: HeadraceError | None, took_us: int = 0) -> None:
        held: Held = job.ref
        held.item, held.error = item, error
        event = Prepared(job, took_us) if error is None else Spoiled(job, took_us)
        self._perform(self._machine.handle(event, now_us=wall_us()))

    def _finished(self, ran: Ran, now_us: Micros) -> None:
        running = self._batches.finished(ran)
        event = BatchFailed(ran.batch_id) if ran.error else BatchFinished(ran.batch_id, ran.took_us)
        self._perform(self._machine.handle(event, now_us=now_us), running)

    def _loaded(self, item: Residents, now_us: Micros) -> None:
        resident = item.resident
        name = resident.variant.name
        if item.more and name in self.residents:
            self._lanes.resize(name, item.backends, resident.lanes)
        else:
            self._lanes.add(name, item.backends)
        self._left(name)
        self.residents[name] = resident
        event = VariantLoaded(
            variant=name, latency=resident.latency, width=resident.variant.width, lanes=resident.lanes
        )
        self._perform(self._machine.handle(event, now_us=now_us))
        self._reporter.changed()

    def _perform(self, commands: list[Command], finished: Running | None = None) -> None:
        """Do what the machine says; the next batches start before the answers of the last are written."""
        if not commands:
            return
        now_us = wall_us()
        starts = [command for command in commands if type(command) is RunBatch]
        for start in starts:
            self._batches.start(start, self.residents[start.variant], now_us=now_us)
        if starts:
            self._reporter.started()
        self._outlet.expect(len(commands) - len(starts), now_us=now_us)
        delivers = [command for command in commands if type(command) is Deliver]
        if delivers:
            assert finished is not None
            self._batches.deliver(delivers, finished, now_us=now_us)
        if len(starts) + len(delivers) < len(commands):
            self._others(commands, finished)

    def _others(self, commands: list[Command], finished: Running | None) -> None:
        """Decode, and answer those whose query was not run, or not to its end."""
        for command in commands:
            match command:
                case RunBatch() | Deliver():
                    pass
                case Decode(job):
                    self._decode(job)
                case Expire(job, code):
                    held: Held = job.ref
                    late = passed if code == "deadline_passed" else _late
                    self._answering.refuse(held, late(held.dispatch, wall_us()))
                case Fail():
                    self._batches.fail(command, finished)
                case HandBack(job):
                    self._answering.hand_back(job.ref, marked=False)
                case _:
                    assert_never(command)

    def _decode(self, job: Job) -> None:
        held: Held = job.ref
        value, content_type = held.message.value() or b"", held.dispatch.content_type
        self._preparing.submit(job, self.residents[job.variant].prepare, value, content_type)

    def _drained(self) -> bool:
        if not self._draining:
            return False
        return (self._quiet and self._source.in_flight == 0) or time.monotonic() > self._drain_until


def _late(dispatch: Dispatch, now_us: int) -> WouldBeLate:
    left_ms = to_ms(dispatch.deadline_us - now_us)
    return WouldBeLate(f"{left_ms:.1f} ms were left, less than its batch on {dispatch.variant!r} takes")
