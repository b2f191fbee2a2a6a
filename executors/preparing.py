"""Decoding payloads outside the lanes' critical section: cheap ones at once, images in threads."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from executors.processing import Preparation
from streams.errors import BadPayload, HeadraceError

log = logging.getLogger(__name__)

Prepared = Callable[[Any, Any, HeadraceError | None], None]


class Preparing:
    """Threads that decode; `done(ref, item, error)` is called in them. What waits is bounded by the intake's cap."""

    def __init__(self, count: int, done: Prepared) -> None:
        self._done = done
        self._work: queue.SimpleQueue[tuple[Any, Preparation, bytes, str | None] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"prepare-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, ref: Any, prepare: Preparation, value: bytes, content_type: str | None) -> None:
        self._work.put((ref, prepare, value, content_type))

    def stop(self, timeout_s: float) -> None:
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            ref, prepare, value, content_type = work
            item, error = prepared(prepare, value, content_type)
            self._done(ref, item, error)


def prepared(prepare: Preparation, value: bytes, content_type: str | None) -> tuple[Any, HeadraceError | None]:
    """The item, or why this payload is none; a bug in a decoder spoils one query, not the executor."""
    try:
        return prepare(value, content_type), None
    except HeadraceError as bad:
        return None, bad
    except Exception as bug:
        log.exception("decoder raised")
        return None, BadPayload(f"the payload cannot be decoded: {type(bug).__name__}: {bug}")
