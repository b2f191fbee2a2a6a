"""Decayed measurements of one variant: how often it is asked, and how its speed differs from its profile."""

from __future__ import annotations

import math

RATE_TAU_US = 300_000  # the routing study's window
DRIFT_WEIGHT = 0.05  # of the newest batch: about the last 50 batches count
DRIFT_MIN = 0.5
DRIFT_MAX = 4.0  # a machine slower than this has a fault that no batch size mends
OUTLIER = 3.0  # one batch moves the drift by at most this ratio: a page fault is no trend


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


class Drift:
    """Measured batch time / profiled median, as a decayed geometric mean within DRIFT_MIN and DRIFT_MAX."""

    __slots__ = ("_log",)

    def __init__(self) -> None:
        self._log = 0.0

    @property
    def ratio(self) -> float:
        return math.exp(self._log)

    def measured(self, took_us: int, *, profiled_us: int) -> None:
        """Fold one batch in. Units: both are microseconds of the same batch size; `profiled_us` >= 1."""
        now = math.log(max(1, took_us) / profiled_us)
        limit = math.log(OUTLIER)
        step = min(limit, max(-limit, now - self._log))
        self._log = min(math.log(DRIFT_MAX), max(math.log(DRIFT_MIN), self._log + DRIFT_WEIGHT * step))
