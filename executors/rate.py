"""An arrival rate as an exponentially decaying average of counts."""

from __future__ import annotations

import math

TAU_US = 300_000  # time constant; blocks of queries arrive in clumps, and a shorter one would follow each clump


class Rate:
    """Queries per second; `add` counts arrivals, `at` decays to an instant. Time must not run backwards far."""

    __slots__ = ("_at_us", "_qps")

    def __init__(self) -> None:
        self._qps = 0.0
        self._at_us = 0

    def add(self, count: int, *, now_us: int) -> None:
        self._qps = self.at(now_us) + count * 1e6 / TAU_US
        self._at_us = now_us

    def at(self, now_us: int) -> float:
        elapsed_us = max(0, now_us - self._at_us)
        return self._qps * math.exp(-elapsed_us / TAU_US) if elapsed_us < 100 * TAU_US else 0.0
