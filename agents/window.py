"""The ids seen lately, so that a repeated query is marked and goes to the executor that may still have its answer."""

from __future__ import annotations

from collections import OrderedDict

COUNT_MAX = 100_000
AGE_MAX_US = 600_000_000


class Window:
    """Given query ids of each owned partition, bounded by count (per partition) and age.

    A repeat counts as seen anew. What one router forgot with a partition is unknown to the next owner.
    """

    def __init__(self, *, count_max: int = COUNT_MAX, age_max_us: int = AGE_MAX_US) -> None:
        assert count_max >= 0
        self._count_max = count_max
        self._age_max_us = age_max_us
        self._partitions: dict[int, OrderedDict[str, tuple[int, str]]] = {}

    def seen(self, partition: int, query_id: str, *, now_us: int) -> bool:
        """Note an id; True if it was seen before, within the bounds."""
        ids = self._partitions.get(partition)
        if ids is None:
            ids = self._partitions[partition] = OrderedDict()
        before = ids.get(query_id)
        fresh = before is not None and now_us - before[0] <= self._age_max_us
        ids[query_id] = (now_us, before[1] if before is not None and fresh else "")
        ids.move_to_end(query_id)
        if len(ids) > self._count_max:
            ids.popitem(last=False)
        else:
            self._forget_oldest(ids, now_us)
        return fresh

    def sent(self, partition: int, query_id: str, executor: str) -> None:
        """Note where an id that was seen went."""
        ids = self._partitions.get(partition)
        known = ids.get(query_id) if ids is not None else None
        if ids is not None and known is not None:
            ids[query_id] = (known[0], executor)

    def executor(self, partition: int, query_id: str) -> str | None:
        """Where an id went last; None if it is unknown or was answered without an executor."""
        ids = self._partitions.get(partition)
        known = ids.get(query_id) if ids is not None else None
        return known[1] or None if known is not None else None

    def forget(self, partition: int) -> None:
        """The partition belongs to another router now."""
        self._partitions.pop(partition, None)

    def __len__(self) -> int:
        return sum(map(len, self._partitions.values()))

    def _forget_oldest(self, ids: OrderedDict[str, tuple[int, str]], now_us: int) -> None:
        """Let go of two that are too old: more than the one that came in, so that age alone shrinks the window."""
        for _ in range(2):
            oldest = next(iter(ids), None)
            if oldest is None or now_us - ids[oldest][0] <= self._age_max_us:
                return
            del ids[oldest]
