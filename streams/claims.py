"""Values too large for a record: kept in the store, and named in the record by their digest, the claim check.

A header `claim-check` counts where the value is empty. What it says is looked up in the configured store and nowhere
else, so it has no way of naming a file, an address or another store.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar

from streams.blobs import BlobSettings, Store, open_store
from streams.contract import CLAIM, QUERY_HEADERS
from streams.errors import BadClaim, HeadraceError, StoreUnreachable

log = logging.getLogger(__name__)
COMPLAIN_S = 10.0
CLOSED = "closed before the store was asked"
CLAIM_NAMES = frozenset(row_name for row in QUERY_HEADERS if row.name == CLAIM for row_name in row[:2])

T = TypeVar("T")
Call = Callable[[], None]


def claim_of(headers: Iterable[tuple[str, bytes | None]]) -> bytes | None:
    """The claim check among a record's headers; the last of a repeated one counts."""
    claim: bytes | None = None
    for name, value in headers:
        if name in CLAIM_NAMES:
            claim = value or b""
    return claim


class _Task(NamedTuple):
    work: Callable[[], Any]
    done: Callable[[Any], None]
    size_bytes: int


class Claims:
    """The configured store, and a few threads that put and fetch, so that no loop and no callback waits for it.

    `later` hands a finished transfer's `done` to where it shall run; without it that is the transfer's own thread.
    """

    def __init__(self, store: Store, settings: BlobSettings, *, later: Callable[[Call], None] | None = None) -> None:
        self.size_max_bytes = settings.size_max_bytes
        self._store = store
        self._waiting_max_bytes = settings.waiting_max_bytes
        self._later = later or (lambda call: call())
        self._lock = threading.Lock()
        self._waiting = 0
        self._waiting_bytes = 0
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._closed = False
        self._complained_at = float("-inf")
        self._threads = [
            threading.Thread(target=self._run, name=f"claims-{n}", daemon=True) for n in range(settings.threads)
        ]

    @classmethod
    def opened(cls, settings: BlobSettings, *, later: Callable[[Call], None] | None = None) -> Self | None:
        """With the store that the settings name; None if they name none. Raises: as `open_store`."""
        store = open_store(settings)
        return None if store is None else cls(store, settings, later=later)

    @property
    def waiting(self) -> int:
        """Transfers asked for and not yet done."""
        return self._waiting

    def fetch(self, claim: bytes | str) -> bytes:
        """What a claim check stands for; blocks.

        Raises: BadClaim, ClaimNotFound, ClaimTooLarge, ValueCorrupt, StoreUnreachable.
        """
        try:
            digest = claim if isinstance(claim, str) else claim.decode("ascii")
        except UnicodeDecodeError:
            raise BadClaim(f"{claim[:80]!r} is not sha256: and 64 hex digits in lower case") from None
        return self._store.get(digest, size_max_bytes=self.size_max_bytes)

    def download(self, claim: str, done: Callable[[bytes | HeadraceError], None]) -> None:
        """`fetch` in a thread; `done` gets the bytes, or why there are none."""
        self.run(lambda: self.fetch(claim), done)

    def upload(self, value: bytes, done: Callable[[str | HeadraceError], None]) -> None:
        """Put a value in a thread; `done` gets its claim check, or why there is none.

        Values that wait are bounded in bytes, though a large one may always wait alone. Beyond that `done` is called
        at once, with StoreUnreachable.
        """
        size_bytes = len(value)
        with self._lock:
            beside = self._waiting_bytes
        if beside and beside + size_bytes > self._waiting_max_bytes:
            done(
                StoreUnreachable(
                    f"the store does not keep up: {beside} bytes wait for it, and with {size_bytes} more it would be "
                    f"over {self._waiting_max_bytes} (waiting_max_bytes in [blobs])"
                )
            )
            return
        self.run(lambda: self._store.put(value), done, size_bytes=size_bytes)

    def run(self, work: Callable[[], T], done: Callable[[T | HeadraceError], None], *, size_bytes: int = 0) -> None:
        """Do some work with the store in a thread; `done` gets what it returns, or the HeadraceError that it raises."""
        task = _Task(work, done, size_bytes)
        with self._lock:
            self._waiting += 1
            self._waiting_bytes += size_bytes
            if not self._closed:
                if self._threads[0].ident is None:  # most processes never meet a large value
                    for thread in self._threads:
                        thread.start()
                self._tasks.put(task)
                return
        self._end(task, StoreUnreachable(CLOSED))

    def close(self, timeout_s: float) -> None:
        """Finish what waits, and give up after `timeout_s` on what has not begun: its `done` is told so."""
        with self._lock:
            started, self._closed = self._threads[0].ident is not None, True
        if not started:
            return
        for _ in self._threads:
            self._tasks.put(None)
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread is not threading.current_thread():  # a callback of ours may close us
                thread.join(max(0.0, end - time.monotonic()))
        left: list[_Task] = []
        while not self._tasks.empty():
            task = self._tasks.get()
            if task is not None:
                left.append(task)
        for _ in self._threads:
            self._tasks.put(None)  # for threads that are still at something
        for task in left:
            self._end(task, StoreUnreachable(CLOSED))

    def _run(self) -> None:
        while self._one(self._tasks.get()):
            pass  # in a call of its own, so that no value stays alive while this thread waits for the next

    def _one(self, task: _Task | None) -> bool:
        if task is None:
            return False
        result: Any
        try:
            result = task.work()
        except StoreUnreachable as failed:
            result = failed
            if time.monotonic() > self._complained_at + COMPLAIN_S:  # each answer says it as well
                self._complained_at = time.monotonic()
                log.warning("store unreachable", extra={"error": failed.message})
        except HeadraceError as failed:
            result = failed
        except Exception as bug:
            log.exception("transfer raised")
            result = StoreUnreachable(f"{type(bug).__name__}: {bug}")
        self._end(task, result)
        return True

    def _end(self, task: _Task, result: Any) -> None:
        with self._lock:
            self._waiting -= 1
            self._waiting_bytes -= task.size_bytes
        try:
            self._later(partial(task.done, result))
        except Exception:
            log.exception("a finished transfer could not be handed over")
