"""The contiguous finished prefix of one partition: what may be committed when work finishes out of order."""

from __future__ import annotations

from collections import deque


class Prefix:
    """Offsets in flight of one assignment of one partition; survives offset gaps (compaction, transactions)."""

    __slots__ = ("_done", "_open", "active", "begin", "fence", "last", "partition")

    def __init__(self, partition: int, *, fence: int, begin: int = 0) -> None:
        self.partition = partition
        self.begin = begin  # the committed offset: records before it are history, read again only to be remembered
        self.fence = fence  # end offset at assignment: whatever lies before may have been handled by someone else
        self.active = True
        self.last = -1
        self._open: deque[int] = deque()
        self._done: set[int] = set()

    def __len__(self) -> int:
        return len(self._open)

    def start(self, offset: int) -> None:
        """Take `offset` in flight. Raises: AssertionError unless offsets come in rising order."""
        assert offset > self.last, (offset, self.last)
        self.last = offset
        self._open.append(offset)

    def finish(self, offset: int) -> int | None:
        """Mark `offset` finished.

        Returns: the offset to commit (one past the prefix) if the prefix grew, else None.
        """
        opened = self._open
        if not opened or offset < opened[0]:
            return None  # finished before, or of an earlier assignment
        if offset != opened[0]:
            self._done.add(offset)
            return None
        opened.popleft()
        done = self._done
        last = offset
        while opened and opened[0] in done:
            last = opened.popleft()
            done.discard(last)
        return last + 1
