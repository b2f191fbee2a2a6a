"""The clock of the second world: what happens when, in integer microseconds. Pure: the same calls, the same run."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

EPOCH_US = 1_700_000_000_000_000  # a second's beginning; policies that divide by seconds see times as live ones


class Engine:
    """`at` says what is to happen, `run` lets it; of one instant, in the order in which it was said."""

    def __init__(self, *, now_us: int = EPOCH_US) -> None:
        self.now_us = now_us
        self.events = 0
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._tickets = count()

    def at(self, us: int, what: Callable[..., object], *args: Any) -> None:
        """Call `what` with `args` at that time, or now if it is over."""
        heapq.heappush(self._heap, (max(us, self.now_us), next(self._tickets), what, args))

    def after(self, us: int, what: Callable[..., object], *args: Any) -> None:
        self.at(self.now_us + us, what, *args)

    def every(self, us: int, what: Callable[[], object]) -> None:
        """Call `what` every so often, the first time after that, until it returns False."""

        def again() -> None:
            if what() is not False:
                self.after(us, again)

        self.after(us, again)

    def run(self, until_us: int) -> None:
        """All that happens until then; the clock stands there afterwards."""
        heap = self._heap
        while heap and heap[0][0] <= until_us:
            self.now_us, _, what, args = heapq.heappop(heap)
            self.events += 1
            what(*args)
        self.now_us = max(self.now_us, until_us)
