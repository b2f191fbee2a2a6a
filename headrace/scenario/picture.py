"""A run as a PNG: load, forecast and capacity; what is loaded; what was in time; what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from forecasting.rows import Floats
from headrace.scenario.run import Ran
from headrace.scenario.watch import Sample
from simulator.scores import by_second

LOAD, BAND, COLOURS = "#444444", "#cfe0f1", ("#1f4e79", "#c55a11", "#6b8e23", "#7a4b8c")
LANES = ("#1f4e79", "#4f81bd", "#95b3d7", "#c55a11", "#e6a36a", "#6b8e23", "#a9c46c", "#7a4b8c", "#b094c0", "#999999")
BAND_LABEL = "forecast of the largest second of the next 20 s: median to 95 %"
FOLD_S = 5  # of shares in time
NAMES_MAX = 10
LEGEND = 1.25  # of the height that the lines take: the legend stands above them

Capacity = Mapping[tuple[str, str], float]


def draw(ran: Ran, capacity: Capacity, path: Path, *, first: str) -> None:
    """Four panels over minutes, `first` the side whose forecast and lanes are shown.

    capacity: queries a second that one lane of (variant, pool) carries. Raises: ModuleNotFoundError without matplotlib,
    OSError.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 11), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    load, lanes, timely, money = figure.subplots(4, 1, sharex=True)
    _load(load, ran, capacity, first)
    _lanes(lanes, ran, first)
    _timely(timely, ran)
    _money(money, ran)
    for axes in (load, lanes, timely, money):
        axes.spines[["top", "right"]].set_visible(False)
    money.set_xlabel("minutes")
    figure.savefig(path, format="png")


def _load(axes: Any, ran: Ran, capacity: Capacity, first: str) -> None:
    samples = ran.samples[first]
    timed = [n for n, ask in enumerate(ran.scene.asks) if not ask.offline]
    minutes = _minutes(ran, samples)
    low, high = (np.array([each[n] for each in samples]) for n in (3, 4))
    axes.fill_between(minutes, low, high, color=BAND, lw=0, label=BAND_LABEL)
    axes.plot(np.arange(len(ran.came)) / 60, ran.came[:, timed].sum(axis=1), color=LOAD, lw=0.6, label="load")
    for colour, (name, held) in zip(COLOURS, ran.samples.items(), strict=False):
        carried = [sum(capacity.get(at, 0.0) * n for at, n in each.lanes.items()) for each in held]
        axes.plot(_minutes(ran, held), carried, color=colour, lw=1.4, label=f"{name}: its lanes carry")
    axes.set_ylabel("queries a second")
    axes.set_ylim(0, LEGEND * axes.get_ylim()[1])
    axes.set_title(f"{ran.scene.name}: load and capacity", loc="left")
    axes.legend(frameon=False, loc="upper left", fontsize="small", ncols=2)


def _lanes(axes: Any, ran: Ran, first: str) -> None:
    samples = ran.samples[first]
    names = sorted({at for each in samples for at in each.lanes})
    rows = [[each.lanes.get(at, 0) for each in samples] for at in names]
    if rows and samples:
        labels = [variant.replace("/emulated-", " ") for variant, _ in names[:NAMES_MAX]]
        axes.stackplot(_minutes(ran, samples), rows, colors=LANES, labels=labels, step="post", lw=0)
    axes.set_ylabel("lanes")
    axes.set_ylim(0, LEGEND * axes.get_ylim()[1])
    axes.set_title(f"what {first} holds", loc="left")
    axes.legend(frameon=False, loc="upper left", fontsize="x-small", ncols=3)


def _timely(axes: Any, ran: Ran) -> None:
    for colour, (name, answered) in zip(COLOURS, ran.answered.items(), strict=False):
        seconds = by_second(answered, ran.scene.asks)
        cut = len(seconds) // FOLD_S * FOLD_S
        sent, kept = (_folded([each[n] for each in _pairs(seconds[:cut])]) for n in (0, 1))
        share = 100.0 * np.divide(kept, sent, out=np.ones_like(kept), where=sent > 0)
        score = ran.scores[name]
        label = f"{name}: {score.violations:.2%} not in time"
        axes.plot(np.arange(len(share)) * FOLD_S / 60, share, color=colour, lw=1.2, label=label)
    axes.set_ylabel("% in time")
    axes.set_ylim(-3, 105)
    axes.set_title(f"answered within the SLO, by {FOLD_S} s", loc="left")
    axes.legend(frameon=False, loc="lower left", fontsize="small")


def _money(axes: Any, ran: Ran) -> None:
    for colour, (name, held) in zip(COLOURS, ran.samples.items(), strict=False):
        machines = [sum(each.machines.values()) for each in held]
        score = ran.scores[name]
        label = f"{name}: ${score.usd_hour:.3f} an hour, accuracy {score.accuracy:.2%}"
        axes.step(_minutes(ran, held), machines, color=colour, lw=1.4, where="post", label=label)
    axes.set_ylabel("machines")
    axes.set_ylim(bottom=0)
    axes.set_title("machines, with those that boot or drain", loc="left")
    axes.legend(frameon=False, loc="lower left", fontsize="small")


def _minutes(ran: Ran, samples: list[Sample]) -> Floats:
    return np.array([(each.at_us - ran.began_us) / 60e6 for each in samples])


def _pairs(seconds: Any) -> list[tuple[int, int]]:
    return [(each.sent, each.in_time) for each in seconds]


def _folded(values: list[int]) -> Floats:
    found: Floats = np.array(values, dtype=np.float64).reshape(-1, FOLD_S).sum(axis=1)
    return found
