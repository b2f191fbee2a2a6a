"""Jobs in order of their deadlines.

Two parallel lists, kept sorted by bisection, rather than a heap: the policy looks at more than the head, what
expires is always a prefix, and queries of one SLO arrive at the end anyway, which makes the usual push an append.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from executors.job import Job


class EdfQueue:
    """Earliest deadline first; equal deadlines in order of arrival.

    Shapes: `deadlines_us` and `jobs` are (n,), and `deadlines_us[i] == jobs[i].deadline_us`, ascending.
    """

    __slots__ = ("deadlines_us", "jobs")

    def __init__(self) -> None:
        self.deadlines_us: list[int] = []
        self.jobs: list[Job] = []

    def __len__(self) -> int:
        return len(self.jobs)

    def push(self, job: Job) -> None:
        deadlines_us, deadline_us = self.deadlines_us, job.deadline_us
        if not deadlines_us or deadline_us >= deadlines_us[-1]:
            deadlines_us.append(deadline_us)
            self.jobs.append(job)
        else:
            at = bisect_right(deadlines_us, deadline_us)
            deadlines_us.insert(at, deadline_us)
            self.jobs.insert(at, job)

    def take(self, count: int) -> list[Job]:
        """Remove and return the `count` jobs with the earliest deadlines."""
        assert count <= len(self.jobs), (count, len(self.jobs))
        taken = self.jobs[:count]
        del self.jobs[:count]
        del self.deadlines_us[:count]
        return taken

    def due(self, now_us: int) -> list[Job]:
        """Remove and return every job whose deadline has come."""
        if not self.deadlines_us or self.deadlines_us[0] > now_us:
            return []
        return self.take(bisect_right(self.deadlines_us, now_us))

    def remove(self, which: Callable[[Job], bool]) -> list[Job]:
        """Remove and return the jobs of which `which` is true; looks at all of them."""
        removed = [job for job in self.jobs if which(job)]
        if removed:
            self.jobs = [job for job in self.jobs if not which(job)]
            self.deadlines_us = [job.deadline_us for job in self.jobs]
        return removed
