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

import msgspec
import numpy as np

from executors.backends.protocol import Array, Backend
from streams.errors import HeadraceError, ModelFailed

log = logging.getLogger(__name__)


class Ran(msgspec.Struct, frozen=True, gc=False):
    """A batch that ran, or did not: exactly one of `outputs` and `error` is set. Units: `took_us` on the lane."""

    batch_id: int
    outputs: Array | None
    error: HeadraceError | None
    took_us: int


class Instances:
    """The loaded instances of a variant. One that runs when it is no longer wanted is closed when it is given back."""

    def __init__(self, backends: list[Backend]) -> None:
        self._idle = deque(backends)
        self._count = len(backends)
        self._lock = threading.Lock()
        self._surplus = 0  # of those that run

    def take(self) -> Backend:
        return self._idle.popleft()

    def give(self, backend: Backend) -> None:
        with self._lock:
            if not self._surplus:
                self._idle.append(backend)
                return
            self._surplus -= 1
        backend.close()

    def grow(self, backends: list[Backend]) -> None:
        with self._lock:
            self._idle.extend(backends)
            self._count += len(backends)

    def shrink(self, count: int) -> None:
        """Keep at most `count`: idle ones are closed first."""
        closing: list[Backend] = []
        with self._lock:
            while self._count > count:
                self._count -= 1
                if self._idle:
                    closing.append(self._idle.pop())
                else:
                    self._surplus += 1
        for backend in closing:
            backend.close()


class Work(NamedTuple):
    """A batch, and the instance that runs it."""

    batch_id: int
    variant: str
    inputs: list[Array]
    instances: Instances
    backend: Backend

    def run(self) -> Ran:
        """Run it in the calling thread."""
        start_ns = time.perf_counter_ns()
        outputs: Any = None
        error: HeadraceError | None = None
        try:
            inputs = self.inputs
            outputs = self.backend.run(np.stack(inputs) if len(inputs) > 1 else inputs[0][None])
        except HeadraceError as failed:
            error = failed
        except Exception as bug:
            log.exception("backend raised", extra={"variant": self.variant})
            error = ModelFailed(f"{self.variant}: {type(bug).__name__}: {bug}")
        finally:
            self.instances.give(self.backend)
        return Ran(self.batch_id, outputs, error, (time.perf_counter_ns() - start_ns) // 1_000)


class Lanes:
    """Runs batches in `count` threads; `done` is called in them with each result."""

    def __init__(self, count: int, done: Callable[[Ran], None]) -> None:
        self._done = done
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._instances: dict[str, Instances] = {}
        self._threads = [threading.Thread(target=self._run, name=f"lane-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def add(self, variant: str, backends: list[Backend]) -> None:
        """Give a variant its loaded instances, as many as may run at once, in the place of those it had."""
        self.remove(variant)
        self._instances[variant] = Instances(backends)

    def resize(self, variant: str, added: list[Backend], count: int) -> None:
        """Add instances to those that a variant has, and keep at most `count`."""
        instances = self._instances[variant]
        instances.grow(added)
        instances.shrink(count)

    def remove(self, variant: str) -> None:
        """Close a variant's instances; those that run a batch still finish it."""
        instances = self._instances.pop(variant, None)
        if instances is not None:
            instances.shrink(0)

    def work(self, batch_id: int, variant: str, inputs: list[Array]) -> Work:
        """A batch with an instance to run it. Raises: KeyError, IndexError if there is none: the machine's fault.

        Shapes: `inputs` are n arrays of the model's item shape.
        """
        instances = self._instances[variant]
        return Work(batch_id, variant, inputs, instances, instances.take())

    def submit(self, work: Work) -> None:
        self._work.put(work)

    def stop(self, timeout_s: float) -> None:
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            self._done(work.run())
