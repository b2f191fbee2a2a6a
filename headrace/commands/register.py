"""`headrace register DIR`: publish a folder of model manifests."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Annotated

import typer

from headrace.options import Check, Config, Level, Set, configure, kafka_of
from headrace.pools import pools
from registry import manifest, topic


def register(
    folder: Annotated[Path, typer.Argument(file_okay=False, exists=True, help="Holds */model.json.")],
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
    check: Check = False,
) -> None:
    """Publish every model of a folder, its variants and its task, and the pools of this configuration."""
    loaded = configure(config, pairs, level)
    records = [*pools(kafka_of(loaded)), *manifest.read(folder)]
    counted = collections.Counter(type(record).__name__.lower() for record in records)
    told = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counted.items())
    if check:
        typer.echo(f"{folder}: {told}, in order")
        return
    topic.publish(kafka_of(loaded), records)
    typer.echo(f"registered {told}")
