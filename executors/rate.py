"""How often something is asked: a decayed rate."""

from __future__ import annotations

import math

RATE_TAU_US = 300_000  # the routing study's window


class Rate:
    """What is counted, per second, decayed exponentially with `tau_us`."""

    __slots__ = ("_at_us", "_count", "_tau_us")

    def __init__(self, tau_us: int = RATE_TAU_US) -> None:
        self._tau_us = tau_us
        self._count = 0.0
        self._at_us = 0

    def add(self, count: int, *, now_us: int) -> None:
        self._decay(now_us)
        self._count += count

    def per_s(self, *, now_us: int) -> float:
        self._decay(now_us)
        return self._count * 1e6 / self._tau_us

    def _decay(self, now_us: int) -> None:
        passed_us = now_us - self._at_us
        if passed_us > 0:
            self._count *= math.exp(-passed_us / self._tau_us)
            self._at_us = now_us
