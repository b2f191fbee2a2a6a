"""A scenario while it runs, and its table at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from headrace.scenario.play import Played
from headrace.scenario.side import Side
from simulator.loads import Scene
from simulator.scores import Answered, in_time

LINE_S = 10.0  # between two lines where there is no terminal
RECENT_S = 5.0
LANES_MAX = 4


class Show:
    """`turn` draws; nothing is kept but the moment of the last line."""

    def __init__(self, console: Console, scene: Scene) -> None:
        self._console, self._scene = console, scene
        self._said = 0.0
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f} of {task.total} s"),
            TimeRemainingColumn(), console=console,
        )  # fmt: skip
        self._task = self._progress.add_task(scene.name, total=scene.seconds)
        self._live: Live | None = None

    def turn(self, at_s: float, sides: Mapping[str, Side]) -> None:
        self._progress.update(self._task, completed=min(at_s, self._scene.seconds))
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, transient=True, auto_refresh=False)
                self._live.start()
            grid = Table.grid()
            grid.add_row(self._progress)
            grid.add_row(self._table(at_s, sides))
            self._live.update(grid, refresh=True)
        elif at_s - self._said >= LINE_S:
            self._said = at_s
            parts = [f"{name}: {' '.join(self._now(side))}" for name, side in sides.items()]
            self._console.print(f"{at_s:4.0f} s  {self._rate(at_s):4.0f}/s  " + "; ".join(parts), highlight=False)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _table(self, at_s: float, sides: Mapping[str, Side]) -> Table:
        table = Table("side", "in time", "machines", "lanes", box=None, header_style="bold")
        for name, side in sides.items():
            table.add_row(name, *self._now(side))
        table.caption = f"{self._rate(at_s):.0f} queries a second, to each side"
        return table

    def _rate(self, at_s: float) -> float:
        return float(self._scene.total[min(int(at_s), self._scene.seconds - 1)])

    def _now(self, side: Side) -> tuple[str, str, str]:
        return _recent(side, self._scene), _machines(side), _lanes(side)


def table(played: Played) -> Table:
    """A row a side."""
    made = Table(
        "side", "queries", "not in time", "lost", "accuracy", "cores", "$ an hour", "recovered after", "offline done",
        title=f"{played.ran.scene.name}; an oracle's machines cost ${played.oracle_usd_hour:.3f} an hour",
        title_justify="left",
    )  # fmt: skip
    for name, got in played.ran.scores.items():
        made.add_row(
            name, f"{got.queries:,}", f"{got.violations:.2%}", str(got.lost), f"{got.accuracy:.2%}", f"{got.cores:.1f}",
            f"{got.usd_hour:.3f}", "never" if got.reaction_s is None else f"{got.reaction_s:.0f} s",
            "-" if got.offline_done is None else f"{got.offline_done:.1%}",
        )  # fmt: skip
    return made


def as_json(played: Played) -> str:
    """One object: fields of a side's score, behind its name."""
    found: dict[str, Any] = {"scenario": played.ran.scene.name, "seconds": played.ran.scene.seconds}
    for name, got in played.ran.scores.items():
        found |= {f"{name}_{field}": getattr(got, field) for field in got.__struct_fields__ if field != "side"}
    return json.dumps({**found, "oracle_usd_hour": played.oracle_usd_hour, "behind_s": round(played.ran.behind_s, 3)})


def _recent(side: Side, scene: Scene) -> str:
    """The share in time among what was sent lately and is due."""
    sent = side.tape.sent
    now_us = time.time() * 1e6
    slo_us = max((ask.slo_ms or 0.0) for ask in scene.asks) * 1_000
    at_us = sent.at_us[: sent.count]
    low, high = np.searchsorted(at_us, [now_us - slo_us - RECENT_S * 1e6, now_us - slo_us])
    some = slice(int(low), int(high))
    timed = ~np.array([ask.offline for ask in scene.asks])[sent.kind[some]]
    answered = Answered(
        at_s=at_us[some] / 1e6, kind=sent.kind[some], took_us=side.tape.took_us[some], accuracy=side.tape.accuracy[some]
    )
    good = in_time(answered, scene.asks)[timed]
    return f"{good.mean():.1%}" if len(good) else "-"


def _machines(side: Side) -> str:
    held = side.watch.samples[-1].machines if side.watch.samples else {}
    return ", ".join(f"{n} {pool}" for pool, n in sorted(held.items()) if n) or "none"


def _lanes(side: Side) -> str:
    lanes = side.watch.samples[-1].lanes if side.watch.samples else {}
    most = sorted(lanes.items(), key=lambda each: -each[1])
    shown = [f"{n} {variant.partition('/')[0]}@{pool}" for (variant, pool), n in most[:LANES_MAX]]
    return ", ".join([*shown, *(["..."] if len(most) > LANES_MAX else [])]) or "none"
