"""Counts of whole seconds from the topic `arrivals`: each second once, and once it is over. Pure.

Routers report a second a moment after it, by partition, and again if they read some of it late. A second is closed
`late_s` after its end; what comes later is not counted any more, and how much that is, is known. After a restart the
records since `resume` are read again: seconds that were closed before are not counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from streams.records import Arrivals

LATE_S = 3
AHEAD_S = 60  # a second further in the future than this is of a clock that is wrong
CATCH_UP_MAX = 600  # seconds closed in one call


class Windows:
    """Open seconds; at most LATE_S + AHEAD_S of them, since `due` is called each second."""

    def __init__(self, *, begin: int = 0, late_s: int = LATE_S) -> None:
        """begin: the first second that is not closed yet; 0: the first that is heard of."""
        self.next = begin
        self.late = 0  # queries that came too late to be counted
        self.ahead = 0  # and those of seconds that cannot have been yet
        self._late_s = late_s
        self._open: dict[int, dict[str, int]] = {}
        self._offsets: dict[int, dict[int, int]] = {}  # the first record of each open second, by partition

    def add(self, arrivals: Arrivals, *, partition: int, offset: int, now_s: int) -> None:
        """Take one record of `arrivals` into account."""
        second = arrivals.second
        if second < self.next:
            self.late += arrivals.count
            return
        if second > now_s + AHEAD_S:
            self.ahead += arrivals.count
            return
        counts = self._open.setdefault(second, {})
        counts[arrivals.klass] = counts.get(arrivals.klass, 0) + arrivals.count
        self._offsets.setdefault(second, {}).setdefault(partition, offset)

    def due(self, now_s: int) -> Iterator[tuple[int, dict[str, int]]]:
        """Close what is over, second by second, those without a query too; nothing before the first record."""
        if not self.next:
            if not self._open:
                return
            self.next = min(self._open)
        for _ in range(CATCH_UP_MAX):
            if self.next + self._late_s >= now_s:
                return
            second, self.next = self.next, self.next + 1
            self._offsets.pop(second, None)
            yield second, self._open.pop(second, {})

    def resume(self, position: dict[int, int]) -> dict[int, int]:
        """From where to read again so that no open second lacks a record. `position`: where reading is now."""
        found = dict(position)
        for offsets in self._offsets.values():
            for partition, offset in offsets.items():
                found[partition] = min(found.get(partition, offset), offset)
        return found
