"""InfAdapter's loop at work on one side of `headrace bench burst`: it decides, orders, and waits for the lanes."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from agents.ordering import executor_order
from benchmarks.planner_exact import RESNETS
from headrace.scenario.side import Side
from simulator.baselines.infadapter import (
    BUDGET,
    HISTORY_S,
    PERIOD_S,
    State,
    beside,
    decide,
    maxima,
    paid_cores,
)
from streams.clock import wall_us

__all__ = ["BUDGET", "Rival"]

ORDERED_S, LOOK_S = 20.0, 0.1


class Rival(threading.Thread):
    """Use it as a context manager; the first decision, for the load `before`, is carried out on entry.

    before: (t,) queries a second until the side's first query.
    """

    def __init__(self, side: Side, before: npt.NDArray[np.float64]) -> None:
        super().__init__(name="infadapter", daemon=True)
        self._side = side
        self._before = before
        self._state = State()
        self._epoch = 0
        self._paid: list[tuple[int, int]] = []  # since when, cores
        self._done = threading.Event()

    def __enter__(self) -> Self:
        self._turn()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self.join(ORDERED_S)

    def run(self) -> None:
        while not self._done.wait(PERIOD_S):
            self._turn()

    def cores(self, began_us: int, seconds: int) -> float:
        """The mean of what was paid, over the seconds since then."""
        return paid_cores(self._paid, began_us, seconds)

    def _turn(self) -> None:
        """Decide; create, then destroy."""
        history = np.concatenate([self._before, self._sent()])[-HISTORY_S:]
        before, self._state = self._state.cores, decide(float(maxima(history)[-1]), self._state, RESNETS)
        after = self._state.cores
        if before == after:
            return
        self._carry_out(beside(before, after))
        self._carry_out(after)

    def _sent(self) -> npt.NDArray[np.float64]:
        """Whole seconds of what the side was sent."""
        tape = getattr(self._side, "tape", None)
        if tape is None or not tape.sent.count:
            return np.zeros(0)
        at_us = tape.sent.at_us[: tape.sent.count]
        counts = np.bincount((at_us - at_us[0]) // 1_000_000).astype(np.float64)
        return counts[:-1]

    def _carry_out(self, cores: dict[str, int]) -> None:
        """Order so many lanes on the side's one machine, and wait until it has them."""
        end = time.monotonic() + ORDERED_S
        lanes = {f"{name}/emulated-fp32-cpu": count for name, count in cores.items()}
        self._paid.append((wall_us(), sum(cores.values())))
        while time.monotonic() < end:
            heard = self._side.watch.executors()
            self._epoch += 1
            self._side.order(*(executor_order(word.executor, lanes, epoch=self._epoch) for word in heard[:1]))
            for _ in range(10):
                heard = self._side.watch.executors()
                if heard and {lane.variant: lane.lanes for lane in heard[0].lanes} == lanes:
                    return
                time.sleep(LOOK_S)
        raise TimeoutError(f"InfAdapter's plan {cores} was not carried out within {ORDERED_S:g} s")
