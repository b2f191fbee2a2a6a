"""Whether a store that did not answer is worth asking again: one request finds out, the others fail at once.

Each request to a store that is away takes all its tries and timeouts. Without this, queries that need it would pile up
behind one another until an executor may take no more, and hold up those that do not need it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from streams.errors import StoreUnreachable


class Away:
    """Around every request, from any thread: `with away.asking() as request`, and say there how it went."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._why: str | None = None
        self._again_at = 0.0
        self._probing = False

    @contextlib.contextmanager
    def asking(self) -> Iterator[Away]:
        """Raises: StoreUnreachable if the store was away a moment ago, or somebody is about to find out."""
        with self._lock:
            probe = self._why is not None
            if probe and (self._probing or time.monotonic() < self._again_at):
                raise StoreUnreachable(f"{self._why} (a moment ago; not asked again yet)")
            self._probing = self._probing or probe
        try:
            yield self
        finally:
            if probe:
                with self._lock:
                    self._probing = False

    def answered(self) -> None:
        """It is there, whatever it said."""
        if self._why is not None:
            with self._lock:
                self._why = None

    def failed(self, why: str) -> None:
        """It did not answer, or only that it cannot."""
        with self._lock:
            self._why, self._again_at = why, time.monotonic() + self._pause_s
