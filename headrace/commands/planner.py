"""`headrace planner`: one planner process, until SIGTERM."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.options import Check, Config, Level, Set, configure
from streams.properties import require_valid


def planner(
    config: Config = None,
    pairs: Set = None,
    level: Level = "info",
    check: Check = False,
    instance: Annotated[str | None, typer.Option(help="Name, unique among live planners.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="cheapest, balanced or most-accurate-within-budget.", metavar="NAME")
    ] = None,
    budget_usd_hour: Annotated[float | None, typer.Option(min=0.0, help="For all machines; 0: no budget.")] = None,
) -> None:
    """Decide what runs: lanes of the executors each second, machines of the pools each quarter of a minute.

    Plans go to `plans`, orders to `scaling`. Several may run: one leads, the others stand by and take over.
    """
    own = {"instance": instance, "preset": preset, "budget_usd_hour": budget_usd_hour}
    settings = configure(config, pairs, level, planner=own).settings
    mine = settings.planner
    from agents.planner import PlannerState
    from agents.planner_worker import run

    if check:
        require_valid(settings.kafka)
        typer.echo(f"planner {mine.instance}: settings and imports are in order")
        return
    run(PlannerState(mine, settings.kafka), settings.kafka, mine.instance)
