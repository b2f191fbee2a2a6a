"""Decoding payloads outside the lanes' critical section: cheap ones at once, images in threads."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from executors.processing import Preparation
from streams.errors import BadPayload, HeadraceError

log = logging.getLogger(__name__)

Prepared = Callable[[Any, Any, HeadraceError | None], None]


class Preparing:
    """Threads that decode; `done(ref, item, error, took_us)` is called in them. The machine says what, and how much."""

    def __init__(self, count: int, done: Callable[[Any, Any, HeadraceError | None, int], None]) -> None:
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
            start_ns = time.perf_counter_ns()
            item, error = prepared(prepare, value, content_type)
            self._done(ref, item, error, (time.perf_counter_ns() - start_ns) // 1_000)


def prepared(prepare: Preparation, value: bytes, content_type: str | None) -> tuple[Any, HeadraceError | None]:
    """The item, or why this payload is none."""
    try:
        return prepare(value, content_type), None
    except Exception as error:  # noqa: BLE001 - `spoiled` logs what is none of ours
        return None, spoiled(error)


def spoiled(error: Exception) -> HeadraceError:
    """Why a payload is no item; a bug in a decoder spoils one query, not the executor."""
    if isinstance(error, HeadraceError):
        return error
    log.error("decoder raised", exc_info=error)
    return BadPayload(f"the payload cannot be decoded: {type(error).__name__}: {error}")
