"""The cores that all resident variants share: how many are free, when more will be, and whose they have been lately."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from executors.rate import Rate


class User(Protocol):
    """A variant, as a user of cores: core-microseconds of its batches, as a rate."""

    @property
    def used(self) -> Rate: ...


class Cores:
    """Units: `end_us` is when a batch should finish, by its profile; one that overruns may finish at any time."""

    __slots__ = ("_running", "free", "total")

    def __init__(self, total: int) -> None:
        assert total >= 1
        self.total = self.free = total
        self._running: dict[int, tuple[int, int]] = {}

    def start(self, batch_id: int, width: int, end_us: int) -> None:
        assert 1 <= width <= self.free, (width, self.free)
        self.free -= width
        self._running[batch_id] = (end_us, width)

    def end(self, batch_id: int) -> None:
        self.free += self._running.pop(batch_id)[1]

    def busy_us(self, now_us: int) -> int:
        """How long at least until the next batch can start, by profile; 0 while a core is free."""
        if self.free > 0:
            return 0
        return max(0, min(end_us for end_us, _ in self._running.values()) - now_us)

    def expected_us(self, now_us: int) -> int:
        """The same by expectation: a batch that has overrun goes on for as long as it already has too long.

        Who said 0 for as long as a batch hangs would be sent to all the while.
        """
        if self.free > 0:
            return 0
        return min(self.expected_end_us(batch_id, now_us) for batch_id in self._running)

    def expected_end_us(self, batch_id: int, now_us: int) -> int:
        """How long one batch should still run, by the same expectation."""
        return abs(self._running[batch_id][0] - now_us)

    def free_at(self, width: int, *, now_us: int) -> int:
        """When `width` cores should be free, if nothing else starts; `now_us` if that may be at any time."""
        assert width <= self.total, (width, self.total)
        free = self.free
        for end_us, freed in sorted(self._running.values()):
            if free >= width:
                break
            free += freed
            at_us = end_us
        return max(now_us, at_us) if self.free < width else now_us

    def share(self, user: User, users: Iterable[User], *, now_us: int) -> float:
        """The share of all cores that a variant can count on: what others leave, but at least its equal part.

        Returns: above 0, at most 1; 1 for a variant that nothing else ran beside lately.
        """
        used = [other.used.per_s(now_us=now_us) / 1e6 for other in users if other is not user]
        left = 1.0 - sum(used) / self.total
        equal = 1.0 / (1 + sum(cores > 0.01 * self.total for cores in used))
        return max(left, equal)
