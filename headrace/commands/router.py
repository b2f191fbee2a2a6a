"""`headrace router`: one router process, until SIGTERM."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.options import Check, Config, Level, Set, configure
from streams.properties import require_valid


def router(
    config: Config = None,
    pairs: Set = None,
    level: Level = "info",
    check: Check = False,
    instance: Annotated[str | None, typer.Option(help="Name, unique among live routers.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Of metrics and health; 0 serves none.")] = None,
) -> None:
    """Run one router: it takes queries, chooses variants and executors, and answers what cannot be met."""
    loaded = configure(config, pairs, level, router={"instance": instance}, observe={"port": port})
    settings = loaded.settings
    from agents.credentials import credentials
    from agents.state import RouterState
    from agents.worker import run

    if check:
        require_valid(settings.kafka)
        credentials(settings.kafka)
        typer.echo(f"router {settings.router.instance}: settings and imports are in order")
        return
    run(RouterState(settings.router, settings.kafka, settings.observe), settings.kafka)
