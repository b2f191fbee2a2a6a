"""The executor's state machine: what runs, what expires, what goes back. No clock, no thread, no socket.

The cores are shared by all resident variants: a batch of a variant of width w starts only while w cores are free,
so that the profiles, measured alone, stay true. Among the variants that want to fire, the one with the earliest
head deadline goes first. Every job gets exactly one of Deliver, Expire, Fail, HandBack.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import assert_never

import msgspec

from executors.batching import Nothing, Reason, Run, WaitUntil, decide
from executors.events import (
    Arrived,
    BatchFailed,
    BatchFinished,
    Command,
    Deliver,
    Draining,
    Event,
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
from executors.job import Job
from executors.stock import Stock
from streams.clock import NEVER
from streams.records import LaneReport

PATIENT_SHARE = 9  # after so many batches of other work, one of patient work that waits goes first: none starves
HEAP_SPARE = 1_024  # finished entries of the deadline heap that are not worth a rebuild


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Jobs on a lane. Units: `end_us` is when it should finish."""

    stock: Stock
    jobs: list[Job]
    end_us: int


class Choice(msgspec.Struct, frozen=True, gc=False):
    """What one variant would run now; the earliest `head_us` goes first."""

    head_us: int
    stock: Stock
    size: int
    reason: Reason
    target: int
    patient: bool = False


class Machine:
    """`handle` is the only way in; `next_wake_us` says when it wants a `Ticked` at the latest."""

    def __init__(self, *, cores: int, phi: float, reserve_us: int, window_drop: bool = True) -> None:
        assert cores >= 1
        assert 0 <= phi <= 1
        self.next_wake_us: int = NEVER
        self.cores = cores
        self.free = cores
        self._phi = phi
        self._reserve_us = reserve_us
        self._window_drop = window_drop
        self._stocks: dict[str, Stock] = {}
        self._batches: dict[int, Batch] = {}
        self._batch_id = 0
        self._retries: deque[tuple[Stock, list[Job]]] = deque()
        self._preparing: dict[int, Job] = {}
        self._deadlines: list[tuple[int, int, Job]] = []
        self._count = 0
        self._open = 0  # jobs with a deadline that have no terminal command yet
        self._fire_us: int = NEVER
        self._draining = False

    def handle(self, event: Event, *, now_us: int) -> list[Command]:
        """Take one event.

        Returns: what to do now, in order.
        Raises:  AssertionError on a batch id that does not run.
        """
        out: list[Command] = []
        self._expire(now_us, out)  # first, so that no result goes out as in time after its deadline
        match event:
            case Arrived(jobs):
                self._arrived(jobs, now_us, out)
            case Prepared(jobs):
                for job in jobs:
                    self._prepared(job, out)
            case Spoiled(job):
                self._forget_preparing(job)
                if not job.done:
                    self._settle(job, Fail(job, None), out)
            case BatchFinished(batch_id, took_us):
                self._finished(batch_id, took_us, out)
            case BatchFailed(batch_id):
                self._failed(batch_id, out)
            case VariantLoaded():
                self._loaded(event, out)
            case VariantUnloaded(variant):
                self._unloaded(variant, out)
            case Draining():
                self._draining = True
                self._give_back(lambda _job: True, out)
            case SlotsRevoked(slots):
                self._give_back(lambda job: job.slot in slots, out)
            case Ticked():
                pass
            case _:
                assert_never(event)
        self._expire(now_us, out)
        self._start(now_us, out)
        self.next_wake_us = min(self._fire_us, self._next_deadline_us())
        return out

    def busy_us(self, now_us: int) -> int:
        """How long until the next batch can start; 0 while a core is free."""
        if self.free > 0 or not self._batches:
            return 0
        return max(0, min(batch.end_us for batch in self._batches.values()) - now_us)

    def reports(self) -> tuple[LaneReport, ...]:
        return tuple(
            LaneReport(
                variant=name, queued=len(stock) + stock.preparing, running=stock.running, drift=round(stock.drift, 3)
            )
            for name, stock in self._stocks.items()
        )

    def _arrived(self, jobs: list[Job], now_us: int, out: list[Command]) -> None:
        counts: dict[Stock, int] = {}
        for job in jobs:
            stock = self._stocks.get(job.variant)
            if stock is None or self._draining:
                self._back(job, out)
                continue
            counts[stock] = counts.get(stock, 0) + 1
            if job.deadline_us < NEVER:
                self._count += 1
                heapq.heappush(self._deadlines, (job.deadline_us, self._count, job))
                self._open += 1
                job.timed = True
            if job.ready:
                stock.push(job)
            else:
                stock.preparing += 1
                self._preparing[id(job)] = job
        for stock, count in counts.items():
            stock.rate.add(count, now_us=now_us)

    def _prepared(self, job: Job, out: list[Command]) -> None:
        stock = self._forget_preparing(job)
        if job.done:
            return
        job.ready = True
        if stock is None or self._draining:
            self._back(job, out)
        else:
            stock.push(job)

    def _forget_preparing(self, job: Job) -> Stock | None:
        stock = self._stocks.get(job.variant)
        if self._preparing.pop(id(job), None) is not None and stock is not None:
            stock.preparing -= 1
        return stock

    def _finished(self, batch_id: int, took_us: int, out: list[Command]) -> None:
        batch = self._end(batch_id)
        batch.stock.ran(len(batch.jobs), took_us)
        for index, job in enumerate(batch.jobs):
            job.running = False
            if not job.done:
                self._settle(job, Deliver(job, batch_id, index), out)

    def _failed(self, batch_id: int, out: list[Command]) -> None:
        """Alone, the job is to blame; together, halves are tried again, so that one bad input fails alone."""
        batch = self._end(batch_id)
        jobs = [job for job in batch.jobs if not job.done]
        if len(batch.jobs) == 1:
            for job in jobs:
                job.running = False
                self._settle(job, Fail(job, batch_id), out)
            return
        if self._stocks.get(batch.stock.variant) is not batch.stock:  # unloaded meanwhile, and perhaps loaded anew
            for job in jobs:
                self._back(job, out)
            return
        half = (len(jobs) + 1) // 2
        self._retries.extend((batch.stock, part) for part in (jobs[:half], jobs[half:]) if part)

    def _end(self, batch_id: int) -> Batch:
        assert batch_id in self._batches, batch_id
        batch = self._batches.pop(batch_id)
        self.free += batch.stock.width
        batch.stock.running -= len(batch.jobs)
        return batch

    def _loaded(self, event: VariantLoaded, out: list[Command]) -> None:
        assert event.width <= self.cores, (event.width, self.cores)
        known = self._stocks.get(event.variant)
        if known is not None and known.width == event.width:
            known.learn(event.latency)
        else:
            self._unloaded(event.variant, out)
            lanes = self.cores // event.width
            self._stocks[event.variant] = Stock(event.variant, event.latency, width=event.width, lanes=lanes)

    def _unloaded(self, variant: str, out: list[Command]) -> None:
        stock = self._stocks.pop(variant, None)
        if stock is not None:
            for job in stock.clear():
                self._back(job, out)
            for _, jobs in [retry for retry in self._retries if retry[0] is stock]:
                for job in jobs:
                    self._back(job, out)
            self._retries = deque(retry for retry in self._retries if retry[0] is not stock)
            for job in [job for job in self._preparing.values() if job.variant == variant]:
                del self._preparing[id(job)]
                self._back(job, out)

    def _give_back(self, which: Callable[[Job], bool], out: list[Command]) -> None:
        for stock in self._stocks.values():
            for job in stock.timed.remove(which):
                self._back(job, out)
            leaving = [job for job in stock.patient if which(job)]
            if leaving:
                stock.patient = deque(job for job in stock.patient if not which(job))
                for job in leaving:
                    self._back(job, out)
        for job in [job for job in self._preparing.values() if which(job)]:
            self._forget_preparing(job)
            self._back(job, out)

    def _back(self, job: Job, out: list[Command]) -> None:
        if not job.done:
            self._settle(job, HandBack(job), out)

    def _settle(self, job: Job, command: Command, out: list[Command]) -> None:
        """Give a job its one terminal command."""
        job.done = True
        if job.timed:
            job.timed = False
            self._open -= 1
        out.append(command)

    def _expire(self, now_us: int, out: list[Command]) -> None:
        """Answer what is past its deadline, wherever it is; who may be late becomes patient."""
        due = False
        while self._deadlines and self._deadlines[0][0] <= now_us:
            _, _, job = heapq.heappop(self._deadlines)
            if job.done:
                continue
            due = True
            if not job.late_ok and (job.running or not job.ready):
                self._settle(job, Expire(job, "deadline_passed"), out)
        if not due:
            return
        for stock in self._stocks.values():
            for job in stock.timed.due(now_us):
                if job.late_ok:
                    stock.patient.append(job)
                else:
                    self._settle(job, Expire(job, "deadline_passed"), out)

    def _next_deadline_us(self) -> int:
        if len(self._deadlines) > 2 * self._open + HEAP_SPARE:
            self._deadlines = [entry for entry in self._deadlines if not entry[2].done]
            heapq.heapify(self._deadlines)
        deadlines = self._deadlines
        while deadlines and deadlines[0][2].done:
            heapq.heappop(deadlines)
        return deadlines[0][0] if deadlines else NEVER

    def _start(self, now_us: int, out: list[Command]) -> None:
        """Start batches while cores are free: retries first, then by the head's deadline."""
        self._fire_us = NEVER
        while self._retries and self.free >= self._retries[0][0].width:
            stock, jobs = self._retries.popleft()
            jobs = [job for job in jobs if not job.done]
            if jobs:
                self._run(stock, jobs, Reason.RETRY, len(jobs), now_us, out)
        while self.free > 0 and not self._retries:
            best: Choice | None = None
            self._fire_us = NEVER
            for stock in self._stocks.values():
                if not len(stock):
                    continue
                choice = self._choose(stock, now_us, out)
                if choice is not None and (best is None or choice.head_us < best.head_us):
                    best = choice
            if best is None or best.stock.width > self.free:
                return  # a wide batch whose turn it is gets its cores: narrower ones would take them for ever
            self._fire(best, now_us, out)

    def _choose(self, stock: Stock, now_us: int, out: list[Command]) -> Choice | None:
        """What this variant would run now, after letting go whom it must; None while it waits."""
        timed = stock.timed
        starving = bool(stock.patient) and stock.passed >= PATIENT_SHARE
        if starving or not timed.jobs:
            return self._choose_patient(stock, starving=starving, now_us=now_us)
        slo_us = timed.deadlines_us[0] - timed.jobs[0].queued_us
        target = stock.target(slo_us, reserve_us=self._reserve_us, now_us=now_us)
        if not self._window_drop:
            size = min(len(timed), stock.size_max, target)
            return Choice(timed.deadlines_us[0], stock, size, Reason.EAGER, target)
        decided = decide(
            timed, run_us=stock.run_us, target=target, size_max=stock.size_max,
            lanes_free=max(1, self.free // stock.width), phi=self._phi, reserve_us=self._reserve_us, now_us=now_us,
        )  # fmt: skip
        self._let_go(stock, decided.drop, out)
        match decided:
            case Run(_, size, reason):
                return Choice(timed.deadlines_us[0], stock, size, reason, target)
            case WaitUntil(_, at_us):
                self._fire_us = min(self._fire_us, at_us)
                return None
            case Nothing():
                return self._choose_patient(stock, starving=False, now_us=now_us)
            case _:
                assert_never(decided)

    def _choose_patient(self, stock: Stock, *, starving: bool, now_us: int) -> Choice | None:
        if not stock.patient:
            return None
        target = stock.target_patient()
        size = min(len(stock.patient), target)
        reason = Reason.TARGET if size == target > 1 else Reason.EAGER
        return Choice(now_us if starving else NEVER, stock, size, reason, target, patient=True)

    def _let_go(self, stock: Stock, count: int, out: list[Command]) -> None:
        for job in stock.timed.take(count):
            if job.late_ok:
                stock.patient.append(job)
            else:
                self._settle(job, Expire(job, "would_be_late"), out)

    def _fire(self, choice: Choice, now_us: int, out: list[Command]) -> None:
        stock = choice.stock
        for other in self._stocks.values():
            first = choice.patient and other is stock
            other.passed = 0 if first or not other.patient else other.passed + 1
        if choice.patient:
            jobs = [stock.patient.popleft() for _ in range(choice.size)]
        else:
            jobs = stock.timed.take(choice.size)
            # Who has time rides along for as long as the head can bear it.
            while stock.patient and len(jobs) < choice.target:
                if now_us + self._reserve_us + stock.run_us[len(jobs) + 1] > choice.head_us:
                    break
                jobs.append(stock.patient.popleft())
        self._run(stock, jobs, choice.reason, choice.target, now_us, out)

    def _run(self, stock: Stock, jobs: list[Job], reason: Reason, target: int, now_us: int, out: list[Command]) -> None:
        for job in jobs:
            job.running = True
        end_us = now_us + stock.run_us[min(len(jobs), stock.size_max)]
        tightest_us = min(job.deadline_us for job in jobs)
        slack_us = NEVER if tightest_us >= NEVER else tightest_us - self._reserve_us - end_us
        if self._draining and reason is not Reason.RETRY:
            reason = Reason.DRAIN
        self._batch_id += 1
        self._batches[self._batch_id] = Batch(stock, jobs, end_us)
        self.free -= stock.width
        stock.running += len(jobs)
        out.append(
            RunBatch(
                batch_id=self._batch_id, variant=stock.variant, jobs=jobs, reason=reason, target=target,
                slack_us=slack_us,
            )
        )  # fmt: skip
