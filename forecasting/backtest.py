"""Walking forward through a series: train on its first part, then forecast every few seconds, and score."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from forecasting import online
from forecasting.expert import Ask, Seen
from forecasting.forecaster import AnyExpert, Models, every
from forecasting.online import Pending
from forecasting.rows import Floats, Seconds, Series, maxima, rows
from forecasting.scores import Score, score

CHUNK = 2_000

Tell = Callable[[int], None]


class Walked(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes: N moments; `at` (N,) indices into the series; `actual` and `last` (N, H); `out` (N, H, Q), what would
    have been published; `experts` (K, N, H, Q) of those in `names`, NaN where one was not in use.
    """

    ask: Ask
    at: Seconds
    actual: Floats
    last: Floats
    out: Floats
    experts: Floats
    names: tuple[str, ...]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. `quantile` is None for forecasters that know one value."""

    name: str
    quantile: float | None
    score: Score


def moments(of: Series, ask: Ask, *, begin: int, step_s: int) -> Seconds:
    """Every `step_s` seconds from `begin` on, where a forecast can be made and scored."""
    at = np.arange(begin, len(of) - ask.horizons_s[-1] + 1, step_s, dtype=np.int64)
    if not len(at):
        return at
    known = np.stack([np.isfinite(maxima(of, at, h)) for h in ask.horizons_s]).all(0)
    fresh = np.concatenate([rows(of, at[n : n + CHUNK]).fresh for n in range(0, len(at), CHUNK)])
    return at[known & fresh]


def walk(
    of: Series,
    models: Models,
    *,
    begin: int,
    step_s: int = 10,
    beside: tuple[AnyExpert, ...] = (),
    tell: Tell = lambda _done: None,
) -> Walked:
    """Forecast from `begin` on; `beside` are shown too, and not used. Nothing is trained or learned from later seconds.

    `tell` is called with how many moments are done, of twice as many as there are: forecasts, then the online choice.
    """
    ask = models.ask
    at = moments(of, ask, begin=begin, step_s=step_s)
    actual = np.stack([maxima(of, at, h) for h in ask.horizons_s], axis=1) if len(at) else np.zeros((0, 1))
    kinds = len(models.experts) + len(beside)
    experts = np.full((kinds, len(at), *ask.shape), np.nan)
    last, level = np.zeros(actual.shape), np.ones(len(at))
    for n in range(0, len(at), CHUNK):
        seen = Seen(rows(of, at[n : n + CHUNK]))
        part = slice(n, n + len(seen.rows))
        experts[: len(models.experts), part] = every(models, seen)
        for k, expert in enumerate(beside, len(models.experts)):
            experts[k, part] = expert.predict(seen, ask)
        last[part] = np.stack([seen.top(h) for h in ask.horizons_s], axis=1)
        level[part] = seen.level
        tell(part.stop)
    out = replay(models, at, experts[: len(models.experts)], actual, level, step_s=step_s, tell=tell)
    names = (*models.names, *(expert.name for expert in beside))
    return Walked(ask=ask, at=at, actual=actual, last=last, out=out, experts=experts, names=names)


def replay(
    models: Models,
    at: npt.NDArray[np.int64],
    experts: Floats,
    actual: Floats,
    level: Floats,
    *,
    step_s: int,
    tell: Tell = lambda _done: None,
) -> Floats:
    """What the online layer would have published, each forecast scored when its horizon was over and not before.

    Shapes: as in `Walked`, `level` (N,). Returns (N, H, Q).
    """
    ask, rank = models.ask, np.array(models.rank)
    state = online.begin(len(models.experts), 1, ask)
    waiting: tuple[deque[tuple[int, Pending]], ...] = tuple(deque() for _ in ask.horizons_s)
    out = np.empty((len(at), *ask.shape))
    for n, now in enumerate(at.tolist()):
        for k, horizon_s in enumerate(ask.horizons_s):
            while waiting[k] and waiting[k][0][1].second + horizon_s <= now:
                which, pending = waiting[k].popleft()
                state = online.score(state, pending, k, actual[which, k : k + 1], ask, step_s=step_s)
        here = experts[:, n : n + 1]
        out[n] = online.mix(state, here, level[n : n + 1], rank)[0]
        forecast = Pending(second=now, experts=here, out=out[n : n + 1], level=level[n : n + 1])
        for queue in waiting:
            queue.append((n, forecast))
        if (n + 1) % 500 == 0 or n + 1 == len(at):
            tell(len(at) + n + 1)
    return out


def table(walked: Walked, horizon_s: int, *, published: str = "headrace") -> list[Line]:
    """A line a forecaster and quantile, scored where it was in use; those that know one value have one line."""
    k = walked.ask.horizons_s.index(horizon_s)
    actual, last = walked.actual[:, k], walked.last[:, k]
    lines = []
    for name, found in (*zip(walked.names, walked.experts, strict=True), (published, walked.out)):
        some = np.isfinite(found[:, k]).all(1)
        if not some.any():
            continue
        values = found[some, k]
        points = name != published and bool((values == values[:, :1]).all())
        for q, quantile in enumerate(walked.ask.quantiles[:1] if points else walked.ask.quantiles):
            lines.append(
                Line(
                    name=name, quantile=None if points else quantile,
                    score=score(values[:, q], actual[some], last[some]),
                )
            )  # fmt: skip
    return lines
