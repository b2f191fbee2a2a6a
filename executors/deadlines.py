"""A heap of jobs by deadline whose finished entries are forgotten long before their deadlines."""

from __future__ import annotations

import heapq

from executors.job import Job
from streams.clock import NEVER

SPARE = 1_024  # finished entries that are not worth a rebuild


class Deadlines:
    """Open jobs, earliest deadline first, equal ones in order of arrival.

    A job is open until it is `done`; who sets that says so by `closed`, once for each job pushed.
    """

    __slots__ = ("_count", "_heap", "_open")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Job]] = []
        self._count = 0
        self._open = 0

    def __len__(self) -> int:
        """How many are open."""
        return self._open

    def push(self, job: Job) -> None:
        self._count += 1
        self._open += 1
        heapq.heappush(self._heap, (job.deadline_us, self._count, job))

    def closed(self) -> None:
        """One of the jobs here is done."""
        self._open -= 1

    def first(self) -> Job | None:
        """The open job with the earliest deadline."""
        heap = self._heap
        if len(heap) > 2 * self._open + SPARE:
            self._heap = heap = [entry for entry in heap if not entry[2].done]
            heapq.heapify(heap)
        while heap and heap[0][2].done:
            heapq.heappop(heap)
        return heap[0][2] if heap else None

    def next_us(self) -> int:
        """The earliest deadline of an open job; NEVER without one."""
        job = self.first()
        return NEVER if job is None else job.deadline_us

    def take(self) -> Job:
        """Remove and return `first`. Raises: AssertionError if none is open."""
        job = self.first()
        assert job is not None
        heapq.heappop(self._heap)
        self._open -= 1
        return job

    def due(self, now_us: int) -> list[Job]:
        """Remove and return the open jobs whose deadline has come; they count as open until `closed`."""
        due: list[Job] = []
        heap = self._heap
        while heap and heap[0][0] <= now_us:
            _, _, job = heapq.heappop(heap)
            if not job.done:
                due.append(job)
        return due
