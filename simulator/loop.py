"""InfAdapter's loop in the second world: it sleeps, decides, orders new lanes beside the old ones, then lets those go.

Its pods are lanes of one wide machine, a core each, loaded beside each other; its policy is baselines/infadapter.py.
Deviations: queries are routed, batched and refused as ours are, not by quota; a pod that widens keeps what it has
and adds the rest, where InfAdapter starts a wider pod and ends the old one. Both are to its advantage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from agents.ordering import executor_order
from simulator.baselines.infadapter import (
    BETA,
    BUDGET,
    HISTORY_S,
    PERIOD_S,
    Curve,
    State,
    beside,
    decide,
    maxima,
    paid_cores,
)
from simulator.engine import Engine
from streams.records import Arrivals, Telemetry
from streams.scaling import ExecutorOrder

LOOK_US = 50_000  # between two looks whether the lanes are there


class Looping(msgspec.Struct, frozen=True, kw_only=True):
    """`menu` by variant. Units: `period_s` of sleep after a transition; `before` queries/s, second by second."""

    menu: dict[str, Curve]
    period_s: float = PERIOD_S
    budget: int = BUDGET
    beta: float = BETA
    before: tuple[float, ...] = ()


class Loop:
    """`order` writes an order. `paid` are the moments since when so many cores are paid for."""

    def __init__(self, engine: Engine, settings: Looping, *, order: Callable[[ExecutorOrder], None]) -> None:
        self.paid: list[tuple[int, int]] = []
        self.decisions = 0
        self._engine, self._settings, self._order = engine, settings, order
        self._state = State()
        self._counts: dict[int, int] = {}
        self._machine: Telemetry | None = None
        self._epoch = 0
        engine.after(LOOK_US, self._begin)

    def count(self, told: list[Arrivals]) -> None:
        for each in told:
            self._counts[each.second] = self._counts.get(each.second, 0) + each.count

    def heard(self, word: Telemetry) -> None:
        self._machine = word

    def cores(self, began_us: int, seconds: int) -> float:
        """The mean of what was paid for, over the seconds since then."""
        return paid_cores(self.paid, began_us, seconds)

    def _begin(self) -> None:
        if self._machine is None:
            self._engine.after(LOOK_US, self._begin)
        else:
            self._turn()

    def _turn(self) -> None:
        """Decide; if that changes something, create and then destroy, and sleep after that."""
        now_s = self._engine.now_us // 1_000_000
        begin = min(self._counts, default=now_s)
        seen = [float(self._counts.get(second, 0)) for second in range(max(begin, now_s - HISTORY_S), now_s)]
        history = np.array([*self._settings.before, *seen])[-HISTORY_S:]
        before, forecast = self._state.cores, float(maxima(history)[-1])
        self._state = decide(
            forecast, self._state, self._settings.menu, budget=self._settings.budget, beta=self._settings.beta
        )
        after = self._state.cores
        self.decisions += 1
        if before == after:
            self._sleep()
            return
        self._carry_out(beside(before, after), lambda: self._carry_out(after, self._sleep))

    def _sleep(self) -> None:
        self._engine.after(round(self._settings.period_s * 1e6), self._turn)

    def _carry_out(self, cores: Mapping[str, int], then: Callable[[], None]) -> None:
        """Order it, and go on once the machine says that it is so."""
        assert self._machine is not None
        self._epoch += 1
        self.paid.append((self._engine.now_us, sum(cores.values())))
        order = executor_order(self._machine.executor, cores, epoch=self._epoch)
        self._order(order)
        wanted = {lane.variant: lane.lanes for lane in order.lanes}

        def look() -> None:
            assert self._machine is not None
            if {lane.variant: lane.lanes for lane in self._machine.lanes} == wanted:
                then()
            else:
                self._engine.after(LOOK_US, look)

        look()
