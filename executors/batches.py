"""Batches of the loop: onto a lane, and from what came of them to answers and a record."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

import msgspec

from executors.answering import Answering, Served
from executors.events import Deliver, Fail, RunBatch
from executors.held import Held
from executors.lanes import Lanes, Ran, Work
from executors.metrics import BatchRecord, ExecutorMetrics
from executors.residency import Resident
from streams.clock import NEVER, Micros, to_ms
from streams.errors import ModelFailed

log = logging.getLogger(__name__)

QUICK_US = 200  # a batch that is done sooner costs less in the loop than the way to a lane's thread and back


class Running(msgspec.Struct, gc=False):
    """A batch on a lane, and then what came of it. Units: wall clock."""

    command: RunBatch
    resident: Resident
    started_us: int
    ran: Ran | None = None


class Batches:
    """Starts what the machine says, and ends queries with what came of it.

    `quick` are batches that the loop should run itself, by `run_quick`, as soon as its commands are performed.
    """

    def __init__(self, lanes: Lanes, answering: Answering, metrics: ExecutorMetrics) -> None:
        self.quick: deque[Work] = deque()
        self._lanes = lanes
        self._answering = answering
        self._metrics = metrics
        self._running: dict[int, Running] = {}

    @property
    def open(self) -> bool:
        """Whether a batch was started and not finished."""
        return bool(self._running)

    def start(self, command: RunBatch, resident: Resident, *, now_us: Micros) -> None:
        self._running[command.batch_id] = Running(command, resident, now_us)
        work = self._lanes.work(command.batch_id, command.variant, [job.ref.item for job in command.jobs])
        if not self.quick and _quick(resident, len(command.jobs)):
            self.quick.append(work)
        else:
            self._lanes.submit(work)

    def run_quick(self) -> Ran:
        return self.quick.popleft().run()

    def finished(self, ran: Ran) -> Running:
        """Take a batch off its lane and note it."""
        running = self._running.pop(ran.batch_id)
        running.ran = ran
        command = running.command
        longest_us = running.started_us - min([job.queued_us for job in command.jobs])
        slack_ms = None if command.slack_us >= NEVER // 2 else round(to_ms(command.slack_us), 2)
        record = BatchRecord(
            command.variant, len(command.jobs), command.target, command.reason, slack_ms, to_ms(ran.took_us)
        )
        self._metrics.batch(record, queue_s=longest_us / 1e6)
        return running

    def deliver(self, commands: Iterable[Deliver], running: Running, *, now_us: Micros) -> None:
        """Answer queries of a batch, each with its row of the outputs."""
        assert running.ran is not None
        size, took_us = len(running.command.jobs), running.ran.took_us
        served = Served.of(running.resident, size=size, started_us=running.started_us, took_us=took_us)
        values, ok = self._values(running), self._answering.ok
        for command in commands:
            value, job = values[command.index], command.job
            if isinstance(value, bytes):
                ok(job.ref, served, value, queued_us=job.queued_us, now_us=now_us)
            else:
                self._answering.refuse(job.ref, value)

    def fail(self, command: Fail, running: Running | None) -> None:
        """Answer one query with what its batch raised, or with what its decoder did."""
        held: Held = command.job.ref
        error = held.error
        if command.batch_id is not None and running is not None and running.ran is not None and running.ran.error:
            error = running.ran.error
        self._answering.refuse(held, error or ModelFailed("the model failed on this query"))

    def _values(self, running: Running) -> list[bytes | ModelFailed]:
        assert running.ran is not None
        assert running.ran.outputs is not None
        ids = [job.ref.dispatch.query_id for job in running.command.jobs]
        try:
            return running.resident.finish(running.ran.outputs, ids)
        except ModelFailed as failed:
            return [failed] * len(ids)
        except Exception as bug:
            log.exception("postprocessing raised", extra={"variant": running.resident.variant.name})
            return [ModelFailed(f"postprocessing: {type(bug).__name__}: {bug}")] * len(ids)


def _quick(resident: Resident, size: int) -> bool:
    """Not on a device, which may hang, and with it the loop's timers."""
    latency = resident.latency
    return resident.variant.hardware == "cpu" and latency.p99_us[min(size, latency.batch_max)] <= QUICK_US
