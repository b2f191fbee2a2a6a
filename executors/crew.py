"""Running batches on every lane at once, each in its own thread as the executor does, and timing them.

Lanes share memory bandwidth, caches and the interpreter's lock, so one alone is faster than one of many.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import NamedTuple, Self

import numpy as np

from executors.backends.protocol import Array, Backend

WARM_UP_RUNS_MAX = 3  # the first runs of a shape allocate and choose kernels
SAMPLES_MIN = 3
SAMPLES_MAX = 300  # a lane and round; beyond, a profile learns nothing that live results would not teach


class Timed(NamedTuple):
    """Runs of one batch size. Units: `took_ns` of each run, all lanes together; `throughput_qps` of them all."""

    took_ns: list[int]
    throughput_qps: float


class Crew:
    """Loaded instances of one variant, each with a thread; a single one runs in the caller's.

    A lane that has its samples goes on running until the last has them, so that no sample is of a machine half idle.
    """

    def __init__(self, backends: Sequence[Backend], *, clock_ns: Callable[[], int]) -> None:
        assert backends, "no lane"
        self._backends = list(backends)
        self._clock_ns = clock_ns
        self._threads = ThreadPoolExecutor(len(backends), "measure") if len(backends) > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads is not None:
            self._threads.shutdown()

    def run(self, items: Sequence[Array], *, share_ns: int, samples_min: int = SAMPLES_MIN) -> Timed:
        """Time batches of `items` for `share_ns`, warm-up included, but at least `samples_min` times on each lane.

        Raises: ModelFailed, of whichever lane was first.
        """
        if self._threads is None:
            return _pooled(len(items), [self._lane(self._backends[0], items, share_ns, samples_min, _Sole())])
        turn = _Turn(len(self._backends))
        lanes = [
            self._threads.submit(self._lane, backend, items, share_ns, samples_min, turn) for backend in self._backends
        ]
        try:
            wait(lanes, return_when=FIRST_EXCEPTION)
        finally:
            turn.abort()  # one has failed, or all are done, or the caller was interrupted
        wait(lanes)
        errors = [error for lane in lanes if (error := lane.exception()) is not None]
        if errors:
            raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
        return _pooled(len(items), [lane.result() for lane in lanes])

    def _lane(
        self, backend: Backend, items: Sequence[Array], share_ns: int, samples_min: int, turn: _Sole | _Turn
    ) -> list[int]:
        clock_ns = self._clock_ns
        began_ns = clock_ns()
        for _ in range(WARM_UP_RUNS_MAX):
            backend.run(np.stack(items))
            if clock_ns() - began_ns > share_ns // 4:
                break
        turn.begin()
        took_ns: list[int] = []
        while len(took_ns) < SAMPLES_MAX:
            start_ns = clock_ns()
            if len(took_ns) >= samples_min and start_ns - began_ns >= share_ns:
                break
            backend.run(np.stack(items))  # stacked as a lane of the executor does
            took_ns.append(clock_ns() - start_ns)
        turn.finish()
        while not turn.over():
            backend.run(np.stack(items))
        return took_ns


class _Sole:
    """The turn of a lane that is alone."""

    def begin(self) -> None:
        """Nobody to wait for."""

    def finish(self) -> None:
        """Nobody waits."""

    def over(self) -> bool:
        return True


class _Turn:
    """Lanes that begin to count together, and keep the machine busy until the last has its samples."""

    def __init__(self, lanes: int) -> None:
        self._start = threading.Barrier(lanes)
        self._left = lanes
        self._lock = threading.Lock()
        self._aborted = False

    def begin(self) -> None:
        self._start.wait()

    def finish(self) -> None:
        with self._lock:
            self._left -= 1

    def over(self) -> bool:
        return self._left <= 0 or self._aborted

    def abort(self) -> None:
        self._aborted = True
        self._start.abort()


def _pooled(size: int, lanes: Sequence[list[int]]) -> Timed:
    rate_qps = sum(size * len(took_ns) / max(1, sum(took_ns)) * 1e9 for took_ns in lanes)
    return Timed([took for lane in lanes for took in lane], rate_qps)
