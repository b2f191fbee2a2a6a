"""What every forecaster is: parameters that do not change, and a function from rows to quantiles."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, Protocol

import msgspec
import numpy as np

from forecasting.features import features, level
from forecasting.rows import WINDOW_S, Floats, Rows

HORIZONS_S = (20, 60, 180)
QUANTILES = (0.5, 0.9, 0.95)


Role = Literal["always", "grown", "young"]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Which quantiles of the highest rate of the next how many seconds; both rising."""

    horizons_s: tuple[int, ...] = HORIZONS_S
    quantiles: tuple[float, ...] = QUANTILES

    def __post_init__(self) -> None:
        assert list(self.horizons_s) == sorted(set(self.horizons_s)), self.horizons_s
        assert list(self.quantiles) == sorted(set(self.quantiles)), self.quantiles

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.horizons_s), len(self.quantiles)


class Seen:
    """Rows, and what several forecasters want of them, computed once."""

    def __init__(self, rows: Rows, features: Floats | None = None) -> None:
        self.rows = rows
        self._tops: dict[int, Floats] = {}
        if features is not None:
            self.__dict__["features"] = features

    @cached_property
    def features(self) -> Floats:
        """(n, len(features.NAMES))"""
        return features(self.rows)

    @cached_property
    def level(self) -> Floats:
        """(n,)"""
        return level(self.rows)

    def windows(self, span_s: int) -> Floats:
        """Maxima of consecutive windows of `span_s`, the last one ending now. Shapes: (n, 3600 // span_s).

        A window without a known second is as the one before it.
        """
        count = WINDOW_S // span_s
        rate, known = (part[:, WINDOW_S - count * span_s :] for part in (self.rows.rate, self.rows.known))
        tops: Floats = rate.reshape(len(rate), count, span_s).max(2).astype(np.float64)
        seen = np.logical_or.reduce(known.reshape(len(rate), count, span_s), axis=2)
        for k in range(1, count):
            tops[:, k] = np.where(seen[:, k], tops[:, k], tops[:, k - 1])
        return tops

    def top(self, span_s: int) -> Floats:
        """The highest rate of the last `span_s` seconds; of the last hour if none of them is known. Shapes: (n,)."""
        if span_s not in self._tops:
            rate, known = self.rows.rate, self.rows.known
            top, some = rate[:, -span_s:].max(1), known[:, -span_s:].any(1)
            if not some.all():
                top = np.where(some, top, rate.max(1))
            self._tops[span_s] = top.astype(np.float64)
        return self._tops[span_s]


class Expert(Protocol):
    """One way to forecast.

    `role`: `grown` was trained and is used for classes that have a history, `young` for those that have none yet.
    """

    @property
    def name(self) -> str: ...

    @property
    def role(self) -> Role: ...

    def predict(self, seen: Seen, ask: Ask) -> Floats:
        """Shapes: (n, horizons, quantiles), queries a second, never negative; quantiles need not be in order.

        Raises: AssertionError where something else is asked than it was fitted for.
        """
        ...


def points(values: list[Floats], ask: Ask) -> Floats:
    """The same for each quantile, for forecasters that know only one value a horizon. `values` (n,) a horizon."""
    return np.repeat(np.stack(values, axis=1)[:, :, None], len(ask.quantiles), axis=2)
