"""Queries that nothing can serve yet: bounded, tried again in turn, given up at their time."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

T = TypeVar("T")


class Parking(Generic[T]):
    """A bounded place to wait, with two ways out: the longest waiting first, and the earliest deadline past.

    Invariant: every parked item is in `_items` once, and in the heap at its own `until_us`; the heap's other
    entries are of items taken out and are at most as many again.
    """

    def __init__(self, *, count_max: int) -> None:
        assert count_max >= 0
        self._count_max = count_max
        self._items: dict[int, tuple[int, T]] = {}  # in order of parking
        self._heap: list[tuple[int, int]] = []  # (until_us, ticket)
        self._ticket = 0

    def park(self, item: T, *, until_us: int) -> bool:
        """Keep an item until `until_us`; False if the place is full."""
        if len(self._items) >= self._count_max:
            return False
        self._ticket += 1
        self._items[self._ticket] = (until_us, item)
        heapq.heappush(self._heap, (until_us, self._ticket))
        return True

    def expired(self, *, now_us: int) -> list[T]:
        """Remove and return what waited to its end, earliest first."""
        late = []
        while self._heap and (self._heap[0][0] <= now_us or self._heap[0][1] not in self._items):
            _, ticket = heapq.heappop(self._heap)
            if ticket in self._items:
                late.append(self._items.pop(ticket)[1])
        return late

    def take(self, count: int) -> list[T]:
        """Remove and return up to `count`, longest parked first: whoever is parked again goes to the end."""
        tickets = [ticket for ticket, _ in zip(self._items, range(count), strict=False)]
        taken = [self._items.pop(ticket)[1] for ticket in tickets]
        if len(self._heap) > 2 * len(self._items) + 64:
            self._heap = [(until_us, ticket) for ticket, (until_us, _) in self._items.items()]
            heapq.heapify(self._heap)
        return taken

    def __len__(self) -> int:
        return len(self._items)
