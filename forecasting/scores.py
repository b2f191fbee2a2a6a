"""How good forecasts were: the columns of the backtest's table."""

from __future__ import annotations

import msgspec
import numpy as np

from forecasting.rows import Floats

JUMP = 1.5  # times the last value


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """`mae`, `rmse`, `short99` (99th percentile of the shortfall) and `pin90` (pinball loss as a 90 % quantile) in
    queries a second; the rest are shares: `mape`, `under` (forecast below what came), `over` (excess over demand) and
    `jumps` (of the jumps, how many stayed under the forecast; None without jumps).
    """

    mae: float
    rmse: float
    mape: float
    under: float
    short99: float
    over: float
    pin90: float
    jumps: float | None


def score(forecast: Floats, actual: Floats, last: Floats) -> Score:
    """Shapes: (n,) each, n >= 1, no NaN; `last` is the last value, which says what a jump is."""
    assert len(actual), "nothing to score"
    error = actual - forecast
    short = np.maximum(error, 0.0)
    some = actual > 0
    jumps = actual > JUMP * last
    return Score(
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt((error**2).mean())),
        mape=float((np.abs(error[some]) / actual[some]).mean()) if some.any() else 0.0,
        under=float((short > 0).mean()),
        short99=float(np.percentile(short, 99)),
        over=float(np.maximum(-error, 0.0).sum() / max(float(actual.sum()), 1e-12)),
        pin90=pinball(forecast, actual, 0.9),
        jumps=float((short[jumps] == 0).mean()) if jumps.any() else None,
    )


def pinball(forecast: Floats, actual: Floats, quantile: float) -> float:
    """The mean loss that the quantile minimises; half the mean absolute error at .5."""
    error = actual - forecast
    return float(np.maximum(quantile * error, (quantile - 1) * error).mean())
