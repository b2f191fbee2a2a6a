"""A record's way over one topic: from produce to the consumer's hand. Pure.

A log-normal through two quantiles as they were measured; one partition keeps its order.
"""

from __future__ import annotations

import msgspec
import numpy as np

from executors.backends.emulated import Z99

DRAWN = 4_096  # at once


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """Units: microseconds."""

    p50_us: float = 800.0
    p99_us: float = 4_000.0


class Delays:
    """Draws of one hop's delay."""

    def __init__(self, hop: Hop, rng: np.random.Generator) -> None:
        self._hop = hop
        self._rng = rng
        self._drawn: list[int] = []

    def draw(self) -> int:
        """Microseconds."""
        if not self._drawn:
            self._drawn = self.many(DRAWN).tolist()
        return self._drawn.pop()

    def many(self, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """Shape (size,)."""
        hop = self._hop
        spread = np.log(max(1.0, hop.p99_us / hop.p50_us)) / Z99
        found: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = np.round(
            hop.p50_us * np.exp(spread * self._rng.standard_normal(size))
        ).astype(np.int64)
        return found


class Partition:
    """One ordered way: nothing arrives before what was sent before it."""

    __slots__ = ("_delays", "_last_us")

    def __init__(self, delays: Delays) -> None:
        self._delays = delays
        self._last_us = 0

    def arrival_us(self, now_us: int) -> int:
        self._last_us = max(self._last_us, now_us + self._delays.draw())
        return self._last_us
