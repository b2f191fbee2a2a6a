"""Which payload is decoded next, where decoding takes milliseconds: by deadline, as batches are.

First in, first out would decode what is already late while fresh queries grow old behind it: under a flood of
photographs nearly all would expire. How long decoding takes is measured, as batches are, and said in telemetry.
"""

from __future__ import annotations

import heapq
from collections import deque

from executors.job import Job
from streams.clock import NEVER

PATIENT_SHARE = 9  # after so many timed payloads, one without a deadline: none starves
WEIGHT = 0.1  # of the newest measurement
BELIEVED_US = 1_000_000  # of a measurement: without another, the next payload is decoded in any case
SPARE = 256  # ended entries that are not worth a rebuild


class Decoding:
    """Payloads that wait for one of `decoders` threads. A job that is done meanwhile is passed over.

    Units: `mean_us` of one payload here, and its mean deviation; 0 before one came.
    """

    __slots__ = ("_at_us", "_count", "_passed", "_patient", "_timed", "decoders", "deviation_us", "free", "mean_us")

    def __init__(self, decoders: int) -> None:
        assert decoders >= 1
        self.decoders = self.free = decoders
        self.mean_us = 0.0
        self.deviation_us = 0.0
        self._timed: list[tuple[int, int, Job]] = []
        self._patient: deque[Job] = deque()
        self._at_us = 0
        self._count = 0
        self._passed = 0

    def slow_us(self, now_us: int) -> int:
        """What few payloads exceed: the mean and two deviations; 0 if that is not known, or not any more.

        If nobody were decoded because of one huge photograph, nothing would ever be measured again.
        """
        if abs(now_us - self._at_us) > BELIEVED_US:
            self.mean_us = self.deviation_us = 0.0
        return round(self.mean_us + 2 * self.deviation_us)

    @property
    def each_us(self) -> int:
        """After so long, on average, one more payload is decoded."""
        return round(self.mean_us / self.decoders)

    def __len__(self) -> int:
        """Payloads here, those included whose jobs are done."""
        return len(self._timed) + len(self._patient)

    def push(self, job: Job, *, open_max: int) -> None:
        """Let a job wait; at most `open_max` of all here can still be open."""
        if job.deadline_us >= NEVER:
            self.wait(job)
        else:
            self._count += 1
            heapq.heappush(self._timed, (job.deadline_us, self._count, job))
        if len(self) > 2 * open_max + SPARE:
            self._timed = [entry for entry in self._timed if not entry[2].done]
            heapq.heapify(self._timed)
            self._patient = deque(job for job in self._patient if not job.done)

    def wait(self, job: Job) -> None:
        """Let a job wait that has no deadline to keep, or none any more."""
        self._patient.append(job)

    def take(self) -> tuple[Job, bool] | None:
        """Remove and return what should be decoded next, and whether it has a deadline to keep."""
        while self._timed and self._timed[0][2].done:
            heapq.heappop(self._timed)
        while self._patient and self._patient[0].done:
            self._patient.popleft()
        if self._patient and (not self._timed or self._passed >= PATIENT_SHARE):
            self._passed = 0
            return self._patient.popleft(), False
        if not self._timed:
            return None
        self._passed = self._passed + 1 if self._patient else 0
        return heapq.heappop(self._timed)[2], True

    def took(self, us: int, *, now_us: int) -> None:
        """Note how long a payload took, which frees its decoder."""
        self.free += 1
        self._at_us = now_us
        assert self.free <= self.decoders
        if not self.mean_us:
            self.mean_us, self.deviation_us = us, us / 2
            return
        off_us = us - self.mean_us
        self.mean_us += WEIGHT * off_us
        self.deviation_us += WEIGHT * (abs(off_us) - self.deviation_us)
