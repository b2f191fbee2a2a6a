"""Load, band and what came, as a PNG: the whole walk by the hour, and its steepest stretch second by second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from forecasting.backtest import Walked
from forecasting.rows import Floats

HOURS_MAX = 2_000
CLOSE_S = 1_200
GAP = 5  # usual steps: nothing is drawn across a hole
INK, BAND, CAME = "#1f4e79", "#9dc3e6", "#c55a11"


def draw(walked: Walked, rate: Floats, path: Path, *, horizon_s: int, title: str) -> None:
    """Shapes: `rate` (t,) as in the series that was walked. Raises: ModuleNotFoundError without matplotlib, OSError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    k = walked.ask.horizons_s.index(horizon_s)
    low, high = walked.out[:, k, 0], walked.out[:, k, -1]
    figure = Figure(figsize=(11, 7), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    whole, close = figure.subplots(2, 1)
    hours = walked.at / 3_600
    step = max(1, len(hours) // HOURS_MAX)
    cut = len(hours) // step * step
    _band(
        whole, hours[:cut:step], _coarse(low, step, np.median), _coarse(high, step, np.max),
        _coarse(walked.actual[:, k], step, np.max),
    )  # fmt: skip
    whole.set_xlabel("hours")
    whole.set_title(f"{title}: the maximum of the next {horizon_s} s", loc="left")
    middle = _steepest(walked, k)
    near = np.abs(walked.at - walked.at[middle]) <= CLOSE_S // 2
    minutes = (walked.at[near] - walked.at[middle]) / 60
    _band(close, minutes, low[near], high[near], walked.actual[near, k])
    begin, end = walked.at[near][0], walked.at[near][-1]
    close.plot((np.arange(begin, end) - walked.at[middle]) / 60, rate[begin:end], color="#888888", lw=0.5, label="load")
    close.set_xlabel("minutes about the steepest rise")
    for axes in (whole, close):
        axes.set_ylabel("queries a second")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="upper left", ncols=4)
    names = ", ".join(f"{q:g}" for q in (walked.ask.quantiles[0], walked.ask.quantiles[-1]))
    figure.supxlabel(f"band: quantiles {names}", fontsize="small", x=0.99, ha="right")
    figure.savefig(path, format="png")


def _band(axes: Any, x: Floats, low: Floats, high: Floats, came: Floats) -> None:
    broken = np.flatnonzero(np.diff(x) > GAP * np.median(np.diff(x))) + 1 if len(x) > 1 else np.zeros(0, dtype=np.int64)
    x, low, high, came = (np.insert(part, broken, np.nan) for part in (x, low, high, came))
    axes.fill_between(x, low, high, color=BAND, lw=0, label="forecast")
    axes.plot(x, low, color=INK, lw=0.8)
    axes.plot(x, came, color=CAME, lw=0.8, label="what came")


def _coarse(values: Floats, step: int, fold: Any) -> Floats:
    cut = len(values) // step * step
    found: Floats = fold(values[:cut].reshape(-1, step), axis=1)
    return found


def _steepest(walked: Walked, k: int) -> int:
    return int(np.argmax(walked.actual[:, k] - walked.last[:, k]))
