"""InfAdapter's forecaster: an LSTM of 25 units with ReLU over the maxima of the last ten minutes.

It is trained with torch (`lstm_training`) and evaluated here in NumPy, so that only training needs torch. As published
it gives one value; with several outputs a horizon it gives quantiles.
"""

from __future__ import annotations

import msgspec
import numpy as np

from forecasting.expert import Ask, Role, Seen
from forecasting.features import LAGS, NAMES
from forecasting.rows import Floats

UNITS = 25
INPUTS = np.array([*(NAMES.index(f"minute_max_{lag}") for lag in range(LAGS, 0, -1)), NAMES.index("max_60")])


class Lstm(msgspec.Struct, frozen=True, kw_only=True, tag="lstm"):
    """Shapes: `kernel` (1, 4u), `recurrent` (u, 4u), `bias` (4u,), gates in the order i, f, g, o; `dense` (u, H * k),
    `offset` (H * k,), with k values a horizon: one, or as many as `quantiles`.

    `scale` divides what goes in and multiplies what comes out.
    """

    horizons_s: tuple[int, ...]
    quantiles: tuple[float, ...]
    scale: float
    kernel: Floats
    recurrent: Floats
    bias: Floats
    dense: Floats
    offset: Floats
    role: Role = "grown"

    @property
    def name(self) -> str:
        return "LSTM quantiles" if self.quantiles else "LSTM"

    def predict(self, seen: Seen, ask: Ask) -> Floats:
        values = seen.features[:, INPUTS] / self.scale
        hidden = np.zeros((len(values), len(self.recurrent)))
        cell = np.zeros_like(hidden)
        for step in range(values.shape[1]):
            gates = values[:, step : step + 1] @ self.kernel + hidden @ self.recurrent + self.bias
            i, f, g, o = np.split(gates, 4, axis=1)
            cell = _sigmoid(f) * cell + _sigmoid(i) * np.maximum(0.0, g)
            hidden = _sigmoid(o) * np.maximum(0.0, cell)
        found = np.maximum(0.0, (hidden @ self.dense + self.offset) * self.scale)
        found = found.reshape(len(values), len(self.horizons_s), -1)[
            :, [self.horizons_s.index(h) for h in ask.horizons_s]
        ]
        if not self.quantiles:
            return np.repeat(found, len(ask.quantiles), axis=2)
        return found[:, :, [self.quantiles.index(q) for q in ask.quantiles]]


def _sigmoid(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -60.0, 60.0)))
