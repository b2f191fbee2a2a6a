"""When a process that ended on its own is started again: at once, then slower, and not for ever. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from streams.clock import Micros

WINDOW_US = 60_000_000
FIRST_US = 100_000
LONGEST_US = 10_000_000


class RestartAt(NamedTuple):
    """Start it again at this time."""

    at_us: Micros


class GiveUp(NamedTuple):
    """It ended too often: leave it down. `ends` counts the window."""

    ends: int


class Restarts:
    """The history of one process; at most `restarts_max` restarts in any window of 60 s."""

    def __init__(self, *, restarts_max: int) -> None:
        self._restarts_max = restarts_max
        self._ends: deque[Micros] = deque()

    def ended(self, *, now_us: Micros) -> RestartAt | GiveUp:
        """Count one more end: wait 0.1 s, doubled with every end in the window, at most 10 s."""
        while self._ends and self._ends[0] <= now_us - WINDOW_US:
            self._ends.popleft()
        self._ends.append(now_us)
        if len(self._ends) > self._restarts_max:
            return GiveUp(len(self._ends))
        wait_us = min(LONGEST_US, FIRST_US * 2 ** (len(self._ends) - 1))
        return RestartAt(Micros(now_us + wait_us))
