"""How well the load is forecast: a real trace, days 1 to 10 to train on, days 11 to 14 to walk through.

The trace is not ours to give: `HEADRACE_TRACE` names the file, or it lies where `TRACE` says beside the checkout. It
needs no broker. What is scored is what would have been published: trained once, chosen and corrected online, blind for
what came later. `_no_clock` is the same without features of the clock, since such regular bursts may be this trace's.
"""

from __future__ import annotations

import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.report import machine
from forecasting.backtest import Walked, walk
from forecasting.expert import Ask
from forecasting.forecaster import Forecaster, Models, State
from forecasting.rows import DAY_S, FRESH_S, Floats, Series, series
from forecasting.scores import JUMP, pinball
from forecasting.trace import read
from forecasting.training import fits, train

TRACE_ENV = "HEADRACE_TRACE"
TRACE = Path("shared/data/twitter-2021-08-days01-14.txt.xz")  # in the folder of the checkout
TRAIN_DAYS, DAYS = 10, 14
TRAIN_STEP_S, STEP_S = 20, 10
SEED = 5
HEADROOM = 1.1  # of the last value: the rival
CLASSES, PARTS, ROUNDS = 44, 5, 200
WARM_S = 3_700
PAUSE_S = 0.02  # live it is called once a second, by a process that sleeps in between
NOT_HERE = 3


class Tell(Protocol):
    def __call__(self, what: str, done: int, of: int) -> None: ...


def _quiet(what: str, done: int, of: int) -> None:
    pass


def found() -> Path | None:
    """The trace, if it is on this machine."""
    named = os.environ.get(TRACE_ENV)
    path = Path(named) if named else Path(__file__).parent.parent.parent / TRACE
    return path if path.is_file() else None


def figures(path: Path, *, tell: Tell = _quiet) -> dict[str, Any]:
    """All figures. Raises: BadTrace."""
    trace = read(path).column(None)[: DAYS * DAY_S]
    whole = series(trace, start=0)
    past = series(trace[: TRAIN_DAYS * DAY_S], start=0)
    made: dict[str, Any] = {}
    walks: dict[bool, tuple[Models, Walked]] = {}
    for clock in (True, False):
        began, tag = time.monotonic(), "" if clock else "_no_clock"
        models = _train(past, clock, tell, f"training{tag}")
        made[f"train_s{tag}"] = round(time.monotonic() - began, 1)
        walking = partial(tell, f"walking{tag}", of=2 * (DAYS - TRAIN_DAYS) * DAY_S // STEP_S)
        walks[clock] = models, walk(whole, models, begin=TRAIN_DAYS * DAY_S, step_s=STEP_S, tell=walking)
    models, walked = walks[True]
    return {**quality(walked, walks[False][1]), **speed(models, trace, tell=tell), **made, "moments": len(walked.at)}


def quality(walked: Walked, no_clock: Walked) -> dict[str, Any]:
    """The figures but for time. The shortest horizon comes first."""
    ask = walked.ask
    middle, high, top = (ask.quantiles.index(q) for q in (0.5, 0.9, 0.95))
    made: dict[str, Any] = {}
    for k, h in enumerate(ask.horizons_s):
        actual, last, out = walked.actual[:, k], walked.last[:, k], walked.out[:, k]
        mae = np.abs(actual - out[:, middle]).mean() / np.abs(actual - last).mean()
        made[f"mae_ratio_last_{h}"] = round(float(mae), 3)
        made[f"pinball_gain_{h}"] = _gain(out[:, high], actual, last)
        made[f"pinball_gain_{h}_no_clock"] = _gain(no_clock.out[:, k, high], actual, last)
        covered = actual <= out[:, high]
        days = [float(covered[walked.at // DAY_S == day].mean()) for day in np.unique(walked.at // DAY_S)]
        tag = "" if h == FRESH_S else f"_{h}"
        made |= {
            f"coverage{tag}": round(float(covered.mean()), 4),
            f"coverage_day_min{tag}": round(min(days), 4), f"coverage_day_max{tag}": round(max(days), 4),
            f"coverage_q95{tag}": round(float((actual <= out[:, top]).mean()), 4),
        }  # fmt: skip
        if h == FRESH_S:
            jumps = actual > JUMP * last
            made["jumps"] = int(jumps.sum())
            made["jumps_covered"] = round(float(covered[jumps].mean()), 3)
            excess = np.maximum(out[:, high] - actual, 0.0).sum() / actual.sum()
            made["over_provision"] = round(float(excess), 4)
    return made


def speed(models: Models, trace: Floats, *, tell: Tell = _quiet) -> dict[str, Any]:
    """Wall and CPU time of all forecasts of 44 classes: thinned copies of the trace, an hour and a bit of it.

    The least disturbed of a few parts is the figure, as neighbours can only slow it; the most disturbed stands beside.
    """
    rng = np.random.default_rng(SEED)
    forecaster = Forecaster(models)
    shares = 1.0 / np.arange(1, CLASSES + 1)
    begin = TRAIN_DAYS * DAY_S
    state = _grown(forecaster, rng.poisson(np.outer(trace[begin : begin + WARM_S], shares)), begin)
    wall, cpu, observing = (np.zeros(PARTS * ROUNDS) for _ in range(3))
    for n, second in enumerate(range(begin + WARM_S, begin + WARM_S + len(wall))):
        counts = {f"class-{k}": float(c) for k, c in enumerate(rng.poisson(trace[second] * shares))}
        time.sleep(PAUSE_S)
        began_ns = time.perf_counter_ns()
        state = forecaster.observe(state, second, counts)
        observing[n] = time.perf_counter_ns() - began_ns
        began_ns, began_cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
        forecast = forecaster.predict(state)
        wall[n], cpu[n] = time.perf_counter_ns() - began_ns, time.thread_time_ns() - began_cpu_ns
        if second % STEP_S == 0:
            state = forecaster.remember(state, forecast)
        tell("timing", n + 1, len(wall))
    assert len(forecast.classes) == CLASSES
    parts = [_ms(part, 99) for part in wall.reshape(PARTS, ROUNDS)]
    return {
        "ms_p99_44_classes": min(parts), "ms_p99_44_classes_disturbed": max(parts), "ms_p50_44_classes": _ms(wall, 50),
        "cpu_ms_p99_44_classes": _ms(cpu, 99), "observe_ms_p50_44_classes": _ms(observing, 50),
    }  # fmt: skip


def main(*, as_json: bool) -> None:
    console = Console(stderr=True)
    path = found()
    if path is None:
        console.print(f"forecast: no trace: {TRACE_ENV} names none, and there is no {TRACE} beside the checkout")
        raise typer.Exit(NOT_HERE)
    with Progress(console=console, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=of)
            progress.update(tasks[what], completed=done)

        made = figures(path, tell=tell)
    if as_json:
        print(json.dumps({"benchmark": "forecast", **made, "machine": machine()}), flush=True)
        return
    table = Table("figure", "value", title="forecast")
    for name, value in made.items():
        table.add_row(name, str(value))
    Console().print(table)


def _train(past: Series, clock: bool, tell: Tell, what: str) -> Models:
    ask, done = Ask(), 0

    def one() -> None:
        nonlocal done
        done += 1
        tell(what, done, fits(ask, clock=clock))

    rng = np.random.default_rng(SEED)
    return train({"all": past}, rng=rng, ask=ask, step_s=TRAIN_STEP_S, clock=clock, tell=one)


def _grown(forecaster: Forecaster, counts: Any, begin: int) -> State:
    """A state whose classes are old enough for every trained model."""
    state = forecaster.start()
    for n, row in enumerate(counts):
        state = forecaster.observe(state, begin + n, {f"class-{k}": float(c) for k, c in enumerate(row)})
    born = np.full(CLASSES, begin - DAY_S, dtype=np.int64)
    return _replace(state, born)


def _replace(state: State, born: Any) -> State:
    return msgspec.structs.replace(state, history=msgspec.structs.replace(state.history, born=born))


def _gain(forecast: Floats, actual: Floats, last: Floats) -> float:
    rival = pinball(HEADROOM * last, actual, 0.9)
    return round(1 - pinball(forecast, actual, 0.9) / rival, 3)


def _ms(spent_ns: Floats, percentile: float) -> float:
    return round(float(np.percentile(spent_ns, percentile)) / 1e6, 2)
