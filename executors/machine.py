"""The executor's state machine: what runs, what expires, what goes back. No clock, no thread, no socket.

The cores are shared by all resident variants: a batch of a variant of width w starts only while w cores are free,
so that the profiles, measured alone, stay true. Among the variants that want to fire, the one with the earliest
head deadline goes first; where it must wait for its cores, narrower ones use them as long as they should be done by
then. Every job gets exactly one of Deliver, Expire, Fail, HandBack.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import assert_never

import msgspec

from executors.batching import Reason
from executors.choosing import Choice, Choosing
from executors.cores import Cores
from executors.deadlines import Deadlines
from executors.decoding import Decoding
from executors.events import (
    Arrived,
    BatchFailed,
    BatchFinished,
    Command,
    Decode,
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


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Jobs on a lane."""

    stock: Stock
    jobs: list[Job]
    started_us: int


class Machine:
    """`handle` is the only way in; `next_wake_us` says when it wants a `Ticked` at the latest."""

    def __init__(self, *, cores: int, phi: float, reserve_us: int, window_drop: bool = True, decoders: int = 1) -> None:
        self.next_wake_us: int = NEVER
        self.cores = Cores(cores)
        self._choosing = Choosing(phi=phi, reserve_us=reserve_us, window_drop=window_drop)
        self._reserve_us = reserve_us
        self._window_drop = window_drop
        self._stocks: dict[str, Stock] = {}
        self._batches: dict[int, Batch] = {}
        self._batch_id = 0
        self._retries: deque[tuple[Stock, list[Job]]] = deque()
        self._preparing: dict[int, Job] = {}
        self._decoding = Decoding(decoders)
        self._deadlines = Deadlines()
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
            case Prepared(job, took_us):
                self._prepared(job, took_us, now_us, out)
            case Spoiled(job, took_us):
                self._decoded(job, took_us, now_us)
                if not job.done:
                    self._settle(job, Fail(job, None), out)
            case BatchFinished(batch_id, took_us):
                self._finished(batch_id, took_us, now_us, out)
            case BatchFailed(batch_id):
                self._failed(batch_id, now_us, out)
            case VariantLoaded():
                self._loaded(event, out)
            case VariantUnloaded(variant):
                self._unloaded(variant, out)
            case Draining():
                self._draining = True
                self._start(now_us, out)
                self._give_back(lambda _job: True, out)
            case SlotsRevoked(slots):
                self._give_back(lambda job: job.slot in slots, out)
            case Ticked():
                pass
            case _:
                assert_never(event)
        self._expire(now_us, out)
        self._start(now_us, out)
        if self._decoding.free:
            self._decode(now_us, out)
        self.next_wake_us = min(self._fire_us, self._deadlines.next_us())
        return out

    @property
    def preparing(self) -> bool:
        """Whether an item is being decoded or waits for it."""
        return bool(self._preparing)

    def busy_us(self, now_us: int) -> int:
        """How long until the next batch can start; 0 while a core is free."""
        return self.cores.busy_us(now_us)

    def age(self, *, now_us: int) -> None:
        """Let measurements grow old; also where nothing happens, since others go by them."""
        self._decoding.slow_us(now_us)
        for stock in self._stocks.values():
            stock.age(now_us=now_us)

    def reports(self, *, now_us: int) -> tuple[LaneReport, ...]:
        ends: dict[str, int] = {}  # of variants with no instance free
        for batch_id, batch in self._batches.items():
            if not batch.stock.free:
                end_us = self.cores.expected_end_us(batch_id, now_us)
                ends[batch.stock.variant] = min(end_us, ends.get(batch.stock.variant, end_us))
        return tuple(
            LaneReport(
                variant=name, queued=len(stock) + stock.preparing, patient=len(stock.patient) + stock.preparing_patient,
                running=stock.running, lanes=stock.lanes, drift=round(stock.drift, 3), sizes=stock.live.knots,
                doubt=int(stock.doubt), undecoded=stock.undecoded,
                decode_us=self._decoding.each_us if stock.decodes else 0, free_us=ends.get(name, 0),
                done=stock.in_time, batches=stock.ended, busy_us=stock.busy_us,
            )
            for name, stock in self._stocks.items()
        )  # fmt: skip

    def _arrived(self, jobs: list[Job], now_us: int, out: list[Command]) -> None:
        counts: dict[Stock, int] = {}
        for job in jobs:
            stock = self._stocks.get(job.variant)
            if stock is None or self._draining:
                self._back(job, out)
                continue
            if job.deadline_us < NEVER:
                counts[stock] = counts.get(stock, 0) + 1
                self._deadlines.push(job)
                job.timed = True
            if job.ready:
                stock.push(job)
            else:
                stock.prepare(job)
                self._preparing[id(job)] = job
                if job.heavy:
                    self._decoding.push(job, open_max=len(self._preparing))
        for stock, count in counts.items():
            stock.rate.add(count, now_us=now_us)

    def _prepared(self, job: Job, took_us: int, now_us: int, out: list[Command]) -> None:
        stock = self._decoded(job, took_us, now_us)
        if job.done:
            return
        job.ready = True
        if stock is None or self._draining:
            self._back(job, out)
        else:
            stock.push(job)

    def _decoded(self, job: Job, took_us: int, now_us: int) -> Stock | None:
        if job.decoding:
            job.decoding = False
            self._decoding.took(took_us, now_us=now_us)
        return self._forget_preparing(job)

    def _forget_preparing(self, job: Job) -> Stock | None:
        stock = self._stocks.get(job.variant)
        if self._preparing.pop(id(job), None) is not None and stock is not None:
            stock.prepared(job)
        return stock

    def _decode(self, now_us: int, out: list[Command]) -> None:
        """Give the free decoders their next payloads, and let go whom no batch could save after it."""
        decoding = self._decoding
        while decoding.free and (taken := decoding.take()) is not None:
            job, timed = taken
            if timed and self._window_drop:
                stock = self._stocks[job.variant]  # an unloaded variant's jobs are done
                size = min(len(stock.timed) + 1, stock.size_max)
                ends_us = (
                    now_us + decoding.slow_us(now_us) + self.busy_us(now_us) + stock.run_us[size] + self._reserve_us
                )
                if ends_us > job.deadline_us:
                    if job.late_ok:
                        decoding.wait(job)
                    else:
                        self._settle(job, Expire(job, "would_be_late"), out)
                    continue
            decoding.free -= 1
            job.decoding = True
            out.append(Decode(job))

    def _finished(self, batch_id: int, took_us: int, now_us: int, out: list[Command]) -> None:
        batch = self._end(batch_id, now_us)
        batch.stock.ran(len(batch.jobs), took_us, now_us=now_us)
        batch.stock.in_time += sum([not job.done and job.deadline_us > now_us for job in batch.jobs])
        for index, job in enumerate(batch.jobs):
            job.running = False
            if not job.done:
                self._settle(job, Deliver(job, batch_id, index), out)

    def _failed(self, batch_id: int, now_us: int, out: list[Command]) -> None:
        """Alone, the job is to blame; together, halves are tried again, so that one bad input fails alone."""
        batch = self._end(batch_id, now_us)
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

    def _end(self, batch_id: int, now_us: int) -> Batch:
        assert batch_id in self._batches, batch_id
        batch = self._batches.pop(batch_id)
        self.cores.end(batch_id)
        batch.stock.end(len(batch.jobs), busy_us=now_us - batch.started_us)
        return batch

    def _loaded(self, event: VariantLoaded, out: list[Command]) -> None:
        assert event.width <= self.cores.total, (event.width, self.cores.total)
        known = self._stocks.get(event.variant)
        most = self.cores.total // event.width
        lanes = min(event.lanes or most, most)
        if known is not None and known.width == event.width:
            known.lanes = lanes
            known.learn(event.latency)
        else:
            self._unloaded(event.variant, out)
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
                self._forget_preparing(job)
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
            self._deadlines.closed()
        if job.heavy and not job.decoding:  # nor will it be
            self._forget_preparing(job)
        out.append(command)

    def _expire(self, now_us: int, out: list[Command]) -> None:
        """Answer what is past its deadline, wherever it is; who may be late becomes patient."""
        due = self._deadlines.due(now_us)
        for job in due:
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

    def _start(self, now_us: int, out: list[Command]) -> None:
        """Start batches while cores are free: retries first, then by the head's deadline.

        Who has its turn and not its cores waits for them, and nobody may start who should end after they are free.
        """
        cores = self.cores
        self._fire_us = until_us = int(NEVER)
        waiting: list[tuple[Stock, list[Job]]] = []
        while self._retries:
            stock, jobs = self._retries.popleft()
            jobs = [job for job in jobs if not job.done]
            if not stock.free:
                waiting.append((stock, jobs))
                continue
            if cores.free < stock.width:
                self._retries.appendleft((stock, jobs))
                until_us = cores.free_at(stock.width, now_us=now_us)
                break
            if len(jobs) > stock.size_max:  # the cap was lowered meanwhile
                self._retries.appendleft((stock, jobs[stock.size_max :]))
            if jobs:
                self._run(stock, jobs[: stock.size_max], Reason.RETRY, min(len(jobs), stock.size_max), now_us, out)
        self._retries.extendleft(reversed(waiting))
        while cores.free > 0:
            best: Choice | None = None
            self._fire_us = NEVER
            for stock in self._stocks.values():
                if not len(stock) or not stock.free or (until_us < NEVER and stock.width > cores.free):
                    continue
                choice = self._choose(stock, now_us, out)
                if choice is None or now_us + stock.run_us[choice.size] > until_us:
                    continue
                if best is None or choice.head_us < best.head_us:
                    best = choice
            if best is None:
                return
            if best.stock.width > cores.free:
                until_us = cores.free_at(best.stock.width, now_us=now_us)
            else:
                self._fire(best, now_us, out)

    def _choose(self, stock: Stock, now_us: int, out: list[Command]) -> Choice | None:
        """What this variant would run now, after letting go whom it must; None while it waits."""
        lanes_free = max(1, min(stock.free, self.cores.free // stock.width))
        chosen = self._choosing.choose(
            stock, lanes_free=lanes_free, eager=self._draining, now_us=now_us,
            share=lambda: self.cores.share(stock, self._stocks.values(), now_us=now_us),
        )  # fmt: skip
        for job in chosen.late:
            self._settle(job, Expire(job, "would_be_late"), out)
        self._fire_us = min(self._fire_us, chosen.again_us)
        return chosen.choice

    def _fire(self, choice: Choice, now_us: int, out: list[Command]) -> None:
        stock = choice.stock
        for other in self._stocks.values():
            first = choice.patient and other is stock
            other.passed = 0 if first or not other.patient else other.passed + 1
        if choice.patient:
            jobs = [stock.patient.popleft() for _ in range(choice.size)]
        else:
            jobs = stock.timed.take(choice.size)
            # Who has time rides along for as long as the head, and those who come meanwhile, can bear it.
            most = min(choice.target, stock.bearable(len(jobs)))
            while stock.patient and len(jobs) < most:
                if now_us + self._reserve_us + stock.run_us[len(jobs) + 1] > choice.head_us:
                    break
                jobs.append(stock.patient.popleft())
        self._run(stock, jobs, choice.reason, choice.target, now_us, out)

    def _run(self, stock: Stock, jobs: list[Job], reason: Reason, target: int, now_us: int, out: list[Command]) -> None:
        for job in jobs:
            job.running = True
        end_us = now_us + stock.run_us[len(jobs)]
        tightest_us = min(job.deadline_us for job in jobs)
        slack_us = NEVER if tightest_us >= NEVER else tightest_us - self._reserve_us - end_us
        if self._draining and reason is Reason.EAGER:
            reason = Reason.DRAIN
        self._batch_id += 1
        self._batches[self._batch_id] = Batch(stock, jobs, now_us)
        self.cores.start(self._batch_id, stock.width, end_us)
        stock.running += len(jobs)
        stock.batches += 1
        out.append(
            RunBatch(
                batch_id=self._batch_id, variant=stock.variant, jobs=jobs, reason=reason, target=target,
                slack_us=slack_us,
            )
        )  # fmt: skip
