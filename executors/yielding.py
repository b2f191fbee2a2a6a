"""How long a batch without a deadline may take where queries with one come too: none of them should be late for it.

A batch is not broken off, so whoever comes just after it has begun waits for all of it. What is left of a deadline
after the query's own batch, in the tightest of the classes that came lately, is what it may wait; half of that is left
for others that came meanwhile.
"""

from __future__ import annotations

from streams.clock import NEVER

REMEMBERED_US = 10_000_000  # a class that was not seen for so long does not come any more


class Yielding:
    """The least such room of a machine, remembered for REMEMBERED_US after it was last seen."""

    __slots__ = ("_at_us", "_room_us")

    def __init__(self) -> None:
        self._room_us = int(NEVER)
        self._at_us = 0

    def seen(self, room_us: int, *, now_us: int) -> None:
        """Note a query with a deadline: its SLO without the way back and without its own batch."""
        room_us //= 2
        if room_us <= self._room_us or now_us - self._at_us > REMEMBERED_US:
            self._room_us, self._at_us = room_us, now_us

    def room_us(self, *, now_us: int) -> int:
        """What a batch without a deadline may take; NEVER where no other queries come."""
        return self._room_us if now_us - self._at_us <= REMEMBERED_US else int(NEVER)
