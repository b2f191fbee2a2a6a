"""Loads as rates by second and class: made ones, and stretches of a trace. Pure.

The made ones have the shapes that the traces of serving papers have: a flat load that jumps within a second and stays
(burst), a day in the time of the run (diurnal), and a total that stays while its parts trade places (mix-shift).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from forecasting.rows import Floats
from streams.contract import TargetKind
from streams.query import Requirements

Shape = Literal["burst", "diurnal", "mix-shift"]
SHAPES: tuple[Shape, ...] = ("burst", "diurnal", "mix-shift")

JUMP_AT, JUMP_BACK = 0.4, 0.8  # of the run
JUMP = 4.0  # times the load before
NIGHT = 0.2  # of the noon's load
WAVER, WAVER_S = 0.05, 15.0  # how far a made rate wanders, and for how long it stays off
RISE_S = 60  # a trace is steepest where a mean over so long rises most


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What the queries of one class ask for. `priority` 0 is offline: no deadline, and only what is idle."""

    task: str
    slo_ms: float | None = None
    accuracy_min: float | None = None
    priority: int | None = None

    @property
    def offline(self) -> bool:
        return self.priority == 0

    @property
    def requirements(self) -> Requirements:
        """As a router reads them from such a query."""
        return Requirements(
            kind=TargetKind.TASK, target=self.task, slo_us=None if self.slo_ms is None else round(self.slo_ms * 1_000),
            accuracy_min=self.accuracy_min or 0.0, priority=5 if self.priority is None else self.priority,
        )  # fmt: skip


class Scene(NamedTuple):
    """A load. Shapes: `qps` (seconds, classes), mean rates; `asks` one for each class."""

    name: str
    asks: tuple[Ask, ...]
    qps: Floats

    @property
    def seconds(self) -> int:
        return len(self.qps)

    @property
    def total(self) -> Floats:
        """Of queries with a deadline; shape (seconds,)."""
        timed = [n for n, ask in enumerate(self.asks) if not ask.offline]
        found: Floats = self.qps[:, timed].sum(axis=1)
        return found

    def first(self, seconds: float) -> Scene:
        """A load that stays as it is at the beginning, for so long."""
        return Scene(f"{self.name}, before", self.asks, np.repeat(self.qps[:1], round(seconds), axis=0))

    def arrivals(self, rng: np.random.Generator) -> Iterator[tuple[float, int]]:
        """Instants and classes, a Poisson process at these rates. Units: seconds since the beginning."""
        for second, rates in enumerate(self.qps):
            counts = rng.poisson(rates)
            classes = np.repeat(np.arange(len(rates)), counts)
            instants = second + np.sort(rng.random(len(classes)))
            yield from zip(instants.tolist(), rng.permutation(classes).tolist(), strict=True)


def made(shape: Shape, asks: tuple[Ask, ...], *, seconds: int, qps: float, rng: np.random.Generator) -> Scene:
    """A made load whose largest rate is about `qps`; offline classes have a tenth of it, evenly, on top.

    The first class with a deadline has two thirds of the load and the others share the rest; a mix shift turns that
    round.
    """
    timed = [n for n, ask in enumerate(asks) if not ask.offline]
    at = np.arange(seconds) / max(1, seconds)
    level = np.full(seconds, 1.0)
    match shape:
        case "burst":
            level = np.where((at >= JUMP_AT) & (at < JUMP_BACK), 1.0, 1.0 / JUMP)
        case "diurnal":
            level = NIGHT + (1.0 - NIGHT) * (0.5 - 0.5 * np.cos(2.0 * np.pi * at)) ** 1.5
        case "mix-shift":
            pass
    shares = np.zeros((seconds, len(asks)))
    first = np.full(seconds, 2 / 3 if len(timed) > 1 else 1.0)
    if shape == "mix-shift" and len(timed) > 1:
        first = np.interp(at, [0.0, 0.3, 0.7, 1.0], [0.9, 0.9, 0.1, 0.1])
    for n in timed:
        shares[:, n] = first if n == timed[0] else (1.0 - first) / (len(timed) - 1)
    rates = qps * level[:, None] * shares * _waver(seconds, len(asks), rng)
    for n, ask in enumerate(asks):
        if ask.offline:
            rates[:, n] = 0.1 * qps
    return Scene(shape, asks, rates)


def of_trace(trace: Floats, asks: tuple[Ask, ...], *, qps: float | None = None, name: str = "trace") -> Scene:
    """A stretch of a trace, all of one class (the first that has a deadline) or in the shares of `made`'s classes.

    trace: (seconds,) queries a second. `qps`: scale its largest minute to this; None: as it is.
    """
    timed = [n for n, ask in enumerate(asks) if not ask.offline]
    scale = 1.0 if qps is None else qps / max(1e-9, float(_smooth(trace, min(60, len(trace))).max()))
    rates = np.zeros((len(trace), len(asks)))
    for n in timed:
        share = 1.0 if len(timed) == 1 else 2 / 3 if n == timed[0] else 1 / (3 * (len(timed) - 1))
        rates[:, n] = trace * scale * share
    for n, ask in enumerate(asks):
        if ask.offline:
            rates[:, n] = 0.1 * rates[:, timed].sum(axis=1).max()
    return Scene(name, asks, rates)


def steepest(trace: Floats, seconds: int) -> int:
    """Where the stretch of so many seconds begins that has the steepest rise in its middle.

    The rise is the mean of RISE_S seconds less that of the RISE_S before them. Stretches with a zero, which is a hole
    in the counts, do not count. Raises: ValueError if there is none.
    """
    if len(trace) < max(seconds, 2 * RISE_S):
        raise ValueError(f"{len(trace)} s are too short for a stretch of {seconds} s")
    mean = _smooth(trace, RISE_S)
    rise = np.full(len(trace), -np.inf)
    rise[RISE_S : len(mean)] = mean[RISE_S:] - mean[:-RISE_S]
    holes = np.concatenate([[0], np.cumsum(trace <= 0)])
    begins = np.arange(len(trace) - seconds + 1)
    whole = holes[begins + seconds] == holes[begins]
    if not whole.any():
        raise ValueError(f"no stretch of {seconds} s is without a hole")
    return int(np.argmax(np.where(whole, rise[begins + seconds // 2], -np.inf)))


def _smooth(trace: Floats, width: int) -> Floats:
    """Means over `width` seconds, by their first second; shape (t - width + 1,)."""
    total = np.concatenate([[0.0], np.cumsum(trace, dtype=np.float64)])
    found: Floats = (total[width:] - total[:-width]) / width
    return found


def _waver(seconds: int, count: int, rng: np.random.Generator) -> Floats:
    """Factors that wander about 1; shape (seconds, count)."""
    kept = np.exp(-1.0 / WAVER_S)
    noise = rng.standard_normal((seconds, count)) * np.sqrt(1.0 - kept**2)
    found = np.zeros((seconds, count))
    for second in range(1, seconds):
        found[second] = kept * found[second - 1] + noise[second]
    return np.maximum(0.0, 1.0 + WAVER * found)
