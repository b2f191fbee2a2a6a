"""The queries of one client that wait for an answer: their futures, and the book that is kept of them. Pure."""

from __future__ import annotations

import enum
import heapq
from collections.abc import Callable
from concurrent.futures import Future

import msgspec

from streams.reply import Reply

FORGOTTEN_MAX = 10_000  # cancelled and overdue queries remembered, so that their answers are counted as such
HEAP_SLACK = 1_024  # stale deadlines tolerated beyond the live ones before the heap is rebuilt


class Pending(Future[Reply]):
    """The future of one query. `result(timeout)` gives its `Reply`, also if that says expired or failed.

    Raises: from `result`: AnswerMissing, if no answer came in time; Unreachable, if the query could not be
            delivered; CancelledError; TimeoutError, if only `timeout` has passed. With large values also
            StoreUnreachable, and why an answer's value cannot be had: NoStore, ClaimNotFound, ClaimTooLarge,
            ValueCorrupt.
    """

    def __init__(self, number: int, query_id: str, forget: Callable[[int], bool]) -> None:
        super().__init__()
        self.number = number
        self.query_id = query_id
        self._forget = forget

    def cancel(self) -> bool:
        """Forget the query here: its answer will be dropped and counted. The work itself may still run."""
        if not self._forget(self.number):
            return self.cancelled()
        super().cancel()
        self.set_running_or_notify_cancel()  # else wait() and as_completed() would never see it
        return True


class Unwanted(enum.Enum):
    """Why nobody waits for an answer that names us."""

    COPY = "copy"
    DROPPED = "dropped"
    LATE = "late"


class Counts(msgspec.Struct, kw_only=True):
    """What became of this client's queries and of the answers that it has seen."""

    submitted: int = 0
    answered: int = 0
    copies: int = 0  # a second answer to the same query
    cancelled: int = 0
    dropped: int = 0  # the answer to a cancelled query
    missing: int = 0  # no answer in time
    late: int = 0  # an answer after that
    undelivered: int = 0  # the query did not reach the cluster
    foreign: int = 0  # for another client of the same partition
    unreadable: int = 0


class Ledger:
    """Who waits for which number, until when, and how many bytes are not yet delivered.

    Not thread-safe: the client holds its lock around every call. A number leaves the book exactly once, and
    whoever took it out completes the future.
    """

    def __init__(self, *, count_max: int, bytes_max: int) -> None:
        self.counts = Counts()
        self.undelivered_bytes = 0
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._open: dict[int, tuple[Pending, int]] = {}
        self._heap: list[tuple[int, int]] = []
        self._forgotten: dict[int, Unwanted] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    def room(self, size_bytes: int) -> bool:
        """Whether one more query fits; a large one always may go alone."""
        beside = self.undelivered_bytes
        return len(self._open) < self._count_max and (beside == 0 or beside + size_bytes <= self._bytes_max)

    def open(self, pending: Pending, *, size_bytes: int, give_up_us: int) -> None:
        """Enter a query. Raises: AssertionError unless numbers rise."""
        assert pending.number > self._last, (pending.number, self._last)
        self._last = pending.number
        self._open[pending.number] = (pending, give_up_us)
        self.undelivered_bytes += size_bytes
        self.counts.submitted += 1
        heapq.heappush(self._heap, (give_up_us, pending.number))
        if len(self._heap) > 2 * len(self._open) + HEAP_SLACK:  # most were answered long before their deadline
            self._heap = [(give_up, number) for number, (_, give_up) in self._open.items()]
            heapq.heapify(self._heap)

    def wait_until(self, number: int, give_up_us: int) -> bool:
        """Give a query another time at which patience ends; False if it has left the book."""
        found = self._open.get(number)
        if found is None:
            return False
        self._open[number] = (found[0], give_up_us)
        heapq.heappush(self._heap, (give_up_us, number))
        return True

    def delivered(self, size_bytes: int) -> None:
        """The query's bytes left the producer's queue, one way or the other."""
        self.undelivered_bytes -= size_bytes

    def answered(self, number: int) -> Pending | Unwanted:
        """Take the query that an answer belongs to, or learn why nobody waits for it."""
        found = self._open.pop(number, None)
        if found is not None:
            self.counts.answered += 1
            return found[0]
        why = self._forgotten.pop(number, Unwanted.COPY)
        if why is Unwanted.COPY:
            self.counts.copies += 1
        elif why is Unwanted.DROPPED:
            self.counts.dropped += 1
        else:
            self.counts.late += 1
        return why

    def forget(self, number: int) -> bool:
        """Cancel; False if the query has left the book before."""
        if self._open.pop(number, None) is None:
            return False
        self.counts.cancelled += 1
        self._remember(number, Unwanted.DROPPED)
        return True

    def refused(self, number: int) -> Pending | None:
        """Take a query that could not be delivered; None if it has left the book before."""
        found = self._open.pop(number, None)
        if found is None:
            return None
        self.counts.undelivered += 1
        self._remember(number, Unwanted.LATE)  # after a timeout it may have arrived all the same
        return found[0]

    def due(self, *, now_us: int) -> list[Pending]:
        """Take the queries whose patience has ended."""
        taken: list[Pending] = []
        heap = self._heap
        while heap and heap[0][0] <= now_us:
            give_up_us, number = heapq.heappop(heap)
            found = self._open.get(number)
            if found is not None and found[1] == give_up_us:  # else it was given another time
                del self._open[number]
                self.counts.missing += 1
                self._remember(number, Unwanted.LATE)
                taken.append(found[0])
        return taken

    def drain(self) -> list[Pending]:
        """Take all that wait: the client is closing or broken."""
        taken = [pending for pending, _ in self._open.values()]
        self.counts.missing += len(taken)
        self._open.clear()
        self._heap.clear()
        return taken

    def _remember(self, number: int, why: Unwanted) -> None:
        if len(self._forgotten) >= FORGOTTEN_MAX:
            del self._forgotten[next(iter(self._forgotten))]
        self._forgotten[number] = why
