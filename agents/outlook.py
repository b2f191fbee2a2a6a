"""Counts in, forecast records out: the forecaster's windows, state and publications, without a clock or a topic."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from agents.windows import Windows
from forecasting.forecaster import STEP_S, Forecaster, State
from forecasting.forecaster import Forecast as Prediction
from forecasting.rows import Floats
from streams.records import Arrivals, Forecast

BEHIND_MAX_S = 10  # a forecaster further behind its counts says nothing: what it would say is history


class Outlook:
    """Windows of counts, and what the forecaster makes of them; `state` is a value that can be stored."""

    def __init__(self, forecaster: Forecaster, state: State, *, late_s: int) -> None:
        self.forecaster = forecaster
        self.state = state
        self.windows = Windows(begin=state.history.second, late_s=late_s)

    def add(self, arrivals: Arrivals, *, partition: int, offset: int, now_s: int) -> None:
        self.windows.add(arrivals, partition=partition, offset=offset, now_s=now_s)

    def close(self, now_s: int) -> int:
        """Take the seconds that are over into the state, each STEP_S with what is to be scored; returns how many."""
        count = 0
        for second, counts in self.windows.due(now_s):
            self.state = self.forecaster.observe(self.state, second, counts)
            if second % STEP_S == STEP_S - 1:
                self.state = self.forecaster.remember(self.state, self.forecaster.predict(self.state))
            count += 1
        return count

    def ready(self, now_s: int) -> bool:
        """Whether the counts are as recent as they can be."""
        return bool(self.state.history.classes) and now_s - self.windows.next <= BEHIND_MAX_S

    def publish(self, *, backlog: float, name: str) -> list[Forecast]:
        """One record a class. `backlog`: queries not read yet, of all classes; each has its share of the rate."""
        return records(self.forecaster.predict(self.state), backlog=backlog, name=name)

    def use(self, forecaster: Forecaster) -> None:
        """Go on with other models; what was learned of those that stay is kept."""
        self.forecaster = forecaster


def records(predicted: Prediction, *, backlog: float, name: str) -> list[Forecast]:
    """The wire's form of a prediction."""
    level = predicted.level
    share = level / level.sum() if level.sum() > 0 else np.full(len(level), 1 / max(1, len(level)))
    return [
        Forecast(
            klass=klass, second=predicted.second, horizons_s=predicted.ask.horizons_s,
            quantiles=predicted.ask.quantiles, qps=_rows(predicted.quantiles[i], digits=3),
            level_qps=round(float(level[i]), 3), forecaster=name, loss=_known(predicted.loss[i]),
            covered=_known(predicted.covered[i]), backlog=round(float(backlog * share[i]), 1),
            fresh=bool(predicted.fresh[i]),
        )
        for i, klass in enumerate(predicted.classes)
    ]  # fmt: skip


def leads(name: str, others: Iterable[str]) -> bool:
    """Whether this one publishes: the first by name of all that are heard of."""
    return all(name <= other for other in others)


def _rows(values: Floats, *, digits: int) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(value), digits) for value in row) for row in values)


def _known(values: Floats) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(round(float(v), 4) if np.isfinite(v) else None for v in row) for row in values)
