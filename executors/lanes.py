"""Lanes: the threads that run batches on loaded backends, one batch a core group at a time.

The machine (machine.py) decides what runs and never asks for more than there are cores, so nothing queues here.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from executors.backends.protocol import Array, Backend
from streams.errors import HeadraceError, ModelFailed

log = logging.getLogger(__name__)


class Ran(NamedTuple):
    """A batch that ran, or did not: exactly one of `outputs` and `error` is set. Units: `took_us` on the lane."""

    batch_id: int
    outputs: Array | None
    error: HeadraceError | None
    took_us: int


class Lanes:
    """Runs batches in `count` threads; `done` is called in them with each result."""

    def __init__(self, count: int, done: Callable[[Ran], None]) -> None:
        self._done = done
        self._work: queue.SimpleQueue[tuple[int, str, list[Array]] | None] = queue.SimpleQueue()
        self._backends: dict[str, deque[Backend]] = {}
        self._threads = [threading.Thread(target=self._run, name=f"lane-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def add(self, variant: str, backends: list[Backend]) -> None:
        """Give a variant its loaded instances: as many as may run at once."""
        self._backends[variant] = deque(backends)

    def remove(self, variant: str) -> None:
        """Close a variant's instances; nothing of it may run any more."""
        for backend in self._backends.pop(variant, ()):
            backend.close()

    def submit(self, batch_id: int, variant: str, inputs: list[Array]) -> None:
        """Shapes: `inputs` are n arrays of the model's item shape."""
        self._work.put((batch_id, variant, inputs))

    def stop(self, timeout_s: float) -> None:
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            batch_id, variant, inputs = work
            start = time.perf_counter_ns()
            outputs: Any = None
            error: HeadraceError | None = None
            try:
                idle = self._backends[variant]
                backend = idle.popleft()
                try:
                    outputs = backend.run(np.stack(inputs))
                finally:
                    idle.append(backend)
            except HeadraceError as failed:
                error = failed
            except Exception as bug:
                log.exception("backend raised", extra={"variant": variant})
                error = ModelFailed(f"{variant}: {type(bug).__name__}: {bug}")
            self._done(Ran(batch_id, outputs, error, (time.perf_counter_ns() - start) // 1_000))
