"""When records should leave together: a request for each costs the broker more than they gain by leaving at once."""

from __future__ import annotations

LINGER_MS = 1  # how long a record waits for others, once there are many
LEAK_US = 2_000  # many: more than one each 2 ms
MANY = 4


class Pace:
    """How many records left lately: a bucket that leaks one each LEAK_US."""

    __slots__ = ("_at_us", "_level")

    def __init__(self) -> None:
        self._at_us = 0
        self._level = 0.0

    def many(self, count: int, *, now_us: int) -> bool:
        """Whether the next `count` records, with what left before them, are worth a linger."""
        leaked = max(0, now_us - self._at_us) / LEAK_US
        self._at_us = now_us
        self._level = min(2 * MANY, max(0.0, self._level - leaked) + count)
        return self._level >= MANY
