"""The one place where the wall clock and time units are converted."""

from __future__ import annotations

import time
from typing import NewType

Micros = NewType("Micros", int)  # integer microseconds since the epoch (or a duration where the name says so)

NEVER: Micros = Micros(2**62)  # sorts after every real deadline and still fits 64 bits


def wall_us() -> Micros:
    """Microseconds since the epoch; crosses hosts, so deadlines are kept in it."""
    return Micros(time.time_ns() // 1_000)


def from_ms(ms: float) -> Micros:
    return Micros(round(ms * 1_000))


def to_ms(us: int) -> float:
    return us / 1_000
