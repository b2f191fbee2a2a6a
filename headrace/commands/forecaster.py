"""`headrace forecaster`: one forecaster process, until SIGTERM; or one training."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from agents.forecaster_settings import ForecasterSettings
from headrace.options import Check, Config, Level, Set, configure
from streams.properties import require_valid
from streams.settings import KafkaSettings


def forecaster(
    config: Config = None,
    pairs: Set = None,
    level: Level = "info",
    check: Check = False,
    instance: Annotated[str | None, typer.Option(help="Name, unique among live forecasters.")] = None,
    train: Annotated[bool, typer.Option("--train", help="Train on what `arrivals` keeps, and end.")] = False,
) -> None:
    """Predict how high the rate of each class will be, from the counts on `arrivals`; publish it each second.

    Several may run: one publishes, the others stand by. Models are trained in a process of its own every
    `[forecaster] retrain_h` hours, once there are 12 hours of counts.
    """
    settings = configure(config, pairs, level, forecaster={"instance": instance}).settings
    mine = settings.forecaster
    from agents.forecaster import ForecasterState, command
    from agents.forecaster_worker import run

    if check:
        require_valid(settings.kafka)
        typer.echo(f"forecaster {mine.instance}: settings and imports are in order")
        return
    if train:
        _train(settings.forecaster, settings.kafka)
        return
    again = command([*(["--config", str(config)] if config else []), *(a for p in pairs or [] for a in ("--set", p))])
    run(ForecasterState(mine, settings.kafka, train=again), settings.kafka, mine.instance)


def _train(mine: ForecasterSettings, kafka: KafkaSettings) -> None:
    from agents.forecast_training import train_on_topic
    from forecasting.expert import Ask
    from forecasting.training import fits

    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("training", total=fits(Ask()))
        models = train_on_topic(mine, kafka, tell=lambda: progress.advance(bar))
    if models.trained_rows:
        typer.echo(f"{len(models.experts)} models from {models.trained_rows} rows, in {mine.folder}")
    else:
        typer.echo("less than 12 hours of counts: nothing to train on yet")
