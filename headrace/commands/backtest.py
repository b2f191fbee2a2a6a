"""`headrace backtest FILE`: how well a load of your own could have been forecast, and by what."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from forecasting.backtest import Line, Walked, moments, table, walk
from forecasting.boosted import ROWS_MIN
from forecasting.errors import BadTrace
from forecasting.ewma import Ewma
from forecasting.expert import HORIZONS_S, Ask
from forecasting.forecaster import AnyExpert, Models
from forecasting.gaps import holes
from forecasting.rows import BLOCK_S, HORIZON_MAX_S, Series, series
from forecasting.seasonal import SeasonalNaive
from forecasting.trace import read
from forecasting.training import fits, gather, holt_winters, lstms, train
from headrace import logs
from headrace.options import Level
from streams.errors import BadSettings

SEED = 1
HOLT_MIN = 10  # windows
WIDTH = 132
SHARE, STEP_S = 0.7, 10


def backtest(
    file: Annotated[Path, typer.Argument(help="Counts per second: one a line, or CSV with a header; .xz, .gz.")],
    column: Annotated[str | None, typer.Option(show_default="the sum of all", help="Of a CSV.")] = None,
    horizon: Annotated[list[int] | None, typer.Option(help="Seconds ahead.", show_default="20, 60, 180")] = None,
    share: Annotated[float, typer.Option("--train", min=0.0, max=0.99, help="Share to train on.")] = SHARE,
    step: Annotated[int, typer.Option(min=1, max=3_600, help="Seconds from forecast to forecast.")] = STEP_S,
    train_step: Annotated[int, typer.Option(min=1, max=3_600, help="Seconds from row to row in training.")] = STEP_S,
    lstm: Annotated[bool, typer.Option("--lstm", help="Also InfAdapter's LSTM; needs torch.")] = False,
    clock: Annotated[bool, typer.Option(help="Use the time of day.")] = True,
    picture: Annotated[Path | None, typer.Option(dir_okay=False, help="PNG of the forecasts and what came.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = SEED,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, the rest on stderr.")] = False,
    level: Level = "warning",
) -> None:
    """Train on the first part of FILE, forecast through the rest without looking ahead, and score every forecaster.

    The target is the highest rate in the horizon. With less than 12 h to train on, only what needs no training runs.
    """
    logs.setup(level)
    ask = Ask(horizons_s=_horizons(horizon))
    picture = _writable(picture)
    of, begin, name = _load(file, column, share, ask, step)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        models, beside = _fit(of, begin, ask, train_step, seed, lstm=lstm, clock=clock, bars=bars)
        at = len(moments(of, ask, begin=begin, step_s=step))
        if not at:
            raise BadTrace(f"{file}: no moment after the first {begin} s has a minute before and a horizon after it")
        task = bars.add_task("walking forward", total=2 * at)
        walked = walk(
            of, models, begin=begin, step_s=step, beside=beside, tell=lambda n: bars.update(task, completed=n)
        )
    lines = {h: table(walked, h) for h in ask.horizons_s}
    if picture is not None:
        from forecasting.picture import draw

        draw(walked, of.rate.astype(np.float64), picture, horizon_s=_middle(ask), title=name)
    _tell(lines, walked, of, models, begin, name, json=json)
    if picture is not None:
        typer.echo(f"picture: {picture}", err=json)


def _load(file: Path, column: str | None, share: float, ask: Ask, step: int) -> tuple[Series, int, str]:
    trace = read(file)
    counts = trace.column(column)
    lost = -trace.start % BLOCK_S  # begin on a full ten seconds
    counts, start = counts[lost:], trace.start + lost
    least = 60 + ask.horizons_s[-1] + step
    if len(counts) < least:
        raise BadTrace(f"{file}: {len(counts)} seconds, at least {least} are needed for a horizon of {least - 60} s")
    of = series(np.nan_to_num(counts), start=start, hole=holes(counts))
    return of, max(60, int(len(of) * share)), f"{file.name}{'' if column is None else f' {column}'}"


def _fit(
    of: Series, begin: int, ask: Ask, step_s: int, seed: int, *, lstm: bool, clock: bool, bars: Progress
) -> tuple[Models, tuple[AnyExpert, ...]]:
    """What is used, and what is only shown beside it; neither saw anything from `begin` on."""
    rng = np.random.default_rng(seed)
    past = _cut(of, begin)
    task = bars.add_task("training", total=fits(ask, clock=clock))
    models = train(
        {"all": past}, rng=rng, ask=ask, step_s=step_s, clock=clock, tell=lambda: bars.advance(task)
    )  # fmt: skip
    bars.update(task, completed=fits(ask, clock=clock))
    beside: list[AnyExpert] = [Ewma()]
    if begin >= HOLT_MIN * ask.horizons_s[-1]:
        beside.append(holt_winters(past, ask))
    if begin >= 86_400:
        beside.append(SeasonalNaive())
    if lstm:
        learnt = gather({"all": past}, ask, rng=rng, step_s=step_s)
        if len(learnt) < ROWS_MIN:
            raise BadTrace(f"{len(learnt)} rows to train on, an LSTM needs {ROWS_MIN}: leave --lstm out")
        beside += lstms(learnt, ask, rng=rng)
    return models, tuple(beside)


def _cut(of: Series, end: int) -> Series:
    return Series(
        start=of.start, rate=of.rate[:end], known=of.known[:end], jumps=of.jumps[: end + 1],
        blocks=of.blocks[: end // BLOCK_S],
    )  # fmt: skip


def _tell(
    lines: dict[int, list[Line]], walked: Walked, of: Series, models: Models, begin: int, name: str, *, json: bool
) -> None:
    facts: dict[str, Any] = {
        "trace": name, "seconds": len(of), "holes_s": int((~of.known).sum()), "train_s": begin,
        "rows_trained_on": models.trained_rows, "moments": len(walked.at),
    }  # fmt: skip
    if json:
        rows = {str(h): [msgspec.to_builtins(line) for line in some] for h, some in lines.items()}
        typer.echo(msgspec.json.encode({**facts, "horizons": rows}).decode())
        return
    console = Console(width=None if Console().is_terminal else WIDTH)
    for h, some in lines.items():
        console.print(_table(h, some, float(walked.actual[:, walked.ask.horizons_s.index(h)].mean())))
    trained = f"trained on {models.trained_rows} rows" if models.trained_rows else "nothing was trained: too short"
    console.print(
        f"{name}: {len(of)} s, {facts['holes_s']} of them in holes; {trained} of the first {begin} s, "
        f"{len(walked.at)} forecasts a horizon in the rest",
        highlight=False,
    )


def _table(h: int, lines: list[Line], mean: float) -> Table:
    made = Table(title=f"next {h} s, mean of the maximum {mean:.4g} q/s", title_justify="left")
    for column in (
        "forecaster", "MAE", "RMSE", "MAPE %", "under %", "short99", "over %", "pinball 90", "jumps under it %"
    ):  # fmt: skip
        made.add_column(column, justify="left" if column == "forecaster" else "right")
    best = min(line.score.pin90 for line in lines)
    for line in lines:
        s = line.score
        made.add_row(
            line.name + ("" if line.quantile is None else f" q{100 * line.quantile:g}"),
            f"{s.mae:.3g}", f"{s.rmse:.3g}", f"{100 * s.mape:.1f}", f"{100 * s.under:.1f}", f"{s.short99:.3g}",
            f"{100 * s.over:.1f}", f"{s.pin90:.3g}" + (" *" if s.pin90 == best else ""),
            "-" if s.jumps is None else f"{100 * s.jumps:.0f}",
        )  # fmt: skip
    return made


def _horizons(given: list[int] | None) -> tuple[int, ...]:
    wanted = tuple(sorted(set(given or HORIZONS_S)))
    if wanted[0] < 1 or wanted[-1] > HORIZON_MAX_S:
        raise BadSettings(f"--horizon {wanted[0] if wanted[0] < 1 else wanted[-1]}: 1 to {HORIZON_MAX_S} s")
    return wanted


def _middle(ask: Ask) -> int:
    return ask.horizons_s[len(ask.horizons_s) // 2]


def _writable(picture: Path | None) -> Path | None:
    """Raises: BadSettings before minutes of work, if the picture could not be written after them."""
    if picture is None:
        return None
    import matplotlib as mpl  # noqa: F401 - missing, it should be said now

    if picture.suffix.lower() != ".png":
        raise BadSettings(f"--picture {picture}: a picture is a .png")
    folder = picture.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise BadSettings(f"--picture {picture}: cannot write into {folder}")
    return picture
