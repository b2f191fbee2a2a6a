"""Builders of machines, jobs and batches, and the rules that hold after every event."""

from __future__ import annotations

from typing import Any

from executors.batching import Reason
from executors.events import (
    Arrived,
    BatchFailed,
    BatchFinished,
    Command,
    Decode,
    Deliver,
    Event,
    Expire,
    Fail,
    HandBack,
    Prepared,
    RunBatch,
    Spoiled,
    Ticked,
    VariantLoaded,
    VariantUnloaded,
)
from executors.job import Job
from executors.machine import Machine
from executors.rate import RATE_TAU_US
from registry.latency import LatencyProfile
from streams.clock import NEVER

MS = 1_000
T0 = 1_700_000_000_000_000  # a moment, in microseconds
# l(b) = 2 ms + b ms; one by one they would take 3 ms each, so batching pays up to the cap.
CURVE = LatencyProfile.linear(fixed_us=2 * MS, per_item_us=MS, batch_max=4)


class Bench:
    """A machine, its clock, and what it said of each job; every event goes through `tell`, which checks the rules."""

    def __init__(
        self,
        *variants: tuple[str, int],
        cores: int = 1,
        phi: float = 1.0,
        curve: LatencyProfile = CURVE,
        **settings: Any,
    ) -> None:
        self.machine = Machine(cores=cores, phi=phi, **{"reserve_us": 0, **settings})
        self.curve = curve
        self.decoders = settings.get("decoders", 1)
        self.now_us = T0
        self.jobs: list[Job] = []  # that arrived
        self.ends: dict[int, Command] = {}  # by id() of the job
        self.running: dict[int, RunBatch] = {}
        self.widths: dict[str, int] = {}
        self.since: dict[str, int] = {}  # the last batch before a variant was loaded
        self.held: dict[int, int] = {}  # batch id -> cores
        self.decoding: list[Job] = []
        for name, width in variants or (("v", 1),):
            self.load(name, width=width)

    def load(
        self, variant: str = "v", *, width: int = 1, lanes: int = 0, curve: LatencyProfile | None = None
    ) -> list[Command]:
        if self.widths.get(variant) != width:
            self.since[variant] = max(self.running, default=0)
        self.widths[variant] = width
        return self.tell(VariantLoaded(variant=variant, latency=curve or self.curve, width=width, lanes=lanes))

    def job(
        self, deadline_ms: float | None = None, *, variant: str = "v", late_ok: bool = False, slot: int = 0,
        ready: bool = True, heavy: bool = False, ref: Any = None,
    ) -> Job:  # fmt: skip
        """A job that comes now; its deadline is that many ms after T0, None is best effort."""
        deadline_us = int(NEVER) if deadline_ms is None else T0 + round(deadline_ms * MS)
        return Job(
            variant=variant, deadline_us=deadline_us, queued_us=self.now_us, slot=slot, late_ok=late_ok,
            ready=ready and not heavy, heavy=heavy, ref=ref,
        )  # fmt: skip

    def arrive(self, *jobs: Job) -> list[Command]:
        return self.tell(Arrived(list(jobs)))

    def at(self, ms: float) -> Bench:
        """Go to that many ms after T0, and say nothing of it to the machine."""
        self.now_us = T0 + round(ms * MS)
        return self

    def tick(self, ms: float) -> list[Command]:
        self.at(ms)
        return self.tell(Ticked())

    def busy(self, rate_qps: float, variant: str = "v") -> Bench:
        """As if so many had been arriving until now, so that batches have a target worth waiting for."""
        self.machine._stocks[variant].rate.add(round(rate_qps * RATE_TAU_US / 1e6), now_us=self.now_us)
        return self

    def finish(self, batch_id: int) -> list[Command]:
        size = len(self.running[batch_id].jobs)
        return self.tell(BatchFinished(batch_id, CURVE.p50_us[size]))

    def fail(self, batch_id: int) -> list[Command]:
        return self.tell(BatchFailed(batch_id))

    def prepared(self, job: Job, *, took_ms: float = 1.0) -> list[Command]:
        return self.tell(Prepared(job, round(took_ms * MS)))

    def tell(self, event: Event) -> list[Command]:
        """One event; validates what came of it."""
        before = dict(self.running)
        match event:
            case Arrived(jobs):
                self.jobs += jobs
            case BatchFinished(batch_id, _) | BatchFailed(batch_id):
                del self.running[batch_id], self.held[batch_id]
            case Prepared(job, _) | Spoiled(job, _):
                self.decoding = [one for one in self.decoding if one is not job]
            case VariantUnloaded(variant):
                self.widths.pop(variant, None)
            case _:
                pass
        commands = self.machine.handle(event, now_us=self.now_us)
        for command in commands:
            self._noted(command, event, before)
        self._validate()
        return commands

    def _noted(self, command: Command, event: Event, before: dict[int, RunBatch]) -> None:
        if isinstance(command, Decode):
            job = command.job
            assert job.heavy
            assert not job.ready
            assert id(job) not in self.ends, "a job that has ended is decoded"
            assert not any(job is one for one in self.decoding), "a job is decoded twice"
            self.decoding.append(job)
            return
        if isinstance(command, RunBatch):
            assert command.batch_id not in self.running
            assert command.variant in self.widths, "a batch of a variant that is not here"
            assert 1 <= len(command.jobs) <= CURVE.batch_max
            assert {job.variant for job in command.jobs} == {command.variant}
            assert all(job.ready and id(job) not in self.ends for job in command.jobs)
            assert not {id(j) for j in command.jobs} & {id(j) for b in self.running.values() for j in b.jobs}
            self.running[command.batch_id] = command
            self.held[command.batch_id] = self.widths[command.variant]
            return
        job = command.job
        assert id(job) not in self.ends, f"{job} was ended twice: {self.ends[id(job)]}, {command}"
        self.ends[id(job)] = command
        runs = any(job is one for batch in self.running.values() for one in batch.jobs)
        match command:
            case Deliver(_, batch_id, index):
                assert isinstance(event, BatchFinished)
                assert event.batch_id == batch_id
                assert before[batch_id].jobs[index] is job
            case Fail(_, None):
                assert isinstance(event, Spoiled)
            case Fail(_, batch_id):
                assert isinstance(event, BatchFailed)
                assert event.batch_id == batch_id
                assert len(before[event.batch_id].jobs) == 1
                assert before[event.batch_id].jobs[0] is job
            case Expire(_, code):
                assert not job.late_ok
                assert job.deadline_us < NEVER
                assert (job.deadline_us <= self.now_us) == (code == "deadline_passed")
                assert code == "deadline_passed" or not runs
            case HandBack():
                assert not runs, "a job that runs was handed back"

    def _validate(self) -> None:
        machine = self.machine
        assert machine.cores.free == machine.cores.total - sum(self.held.values()) >= 0
        assert machine.busy_us(self.now_us) >= 0
        assert machine.next_wake_us > self.now_us
        open_jobs = [job for job in self.jobs if id(job) not in self.ends]
        undecoded = [job for job in open_jobs if job.heavy and not job.ready]
        assert len(self.decoding) <= self.decoders
        assert len(self.decoding) == self.decoders or all(any(job is one for one in self.decoding) for job in undecoded)
        for job in open_jobs:
            assert not job.done
            if not job.late_ok and job.deadline_us < NEVER:
                assert job.deadline_us > self.now_us, f"{job} is still open after its deadline"
                assert machine.next_wake_us <= job.deadline_us, "nothing would wake the machine for this deadline"
        for report in machine.reports(now_us=self.now_us):
            assert report.queued >= 0
            now = [b for b in self.running.values() if b.variant == report.variant]
            assert report.running == sum(len(b.jobs) for b in now if b.batch_id > self.since[report.variant])


def ran(batch_id: int, *jobs: Job, reason: str, target: int, slack_ms: float | None, variant: str = "v") -> RunBatch:
    """The command to run these jobs."""
    return RunBatch(
        batch_id=batch_id, variant=variant, jobs=list(jobs), reason=Reason(reason), target=target,
        slack_us=int(NEVER) if slack_ms is None else round(slack_ms * MS),
    )  # fmt: skip
