"""`headrace topics create|diff`: the cluster's topics as the table in code says."""

from __future__ import annotations

import typer

from headrace.options import Config, Level, Set, configure, kafka_of
from streams import topics

app = typer.Typer(
    name="topics",
    help="Create the topics of the contract, or say how the cluster's differ.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DIFFERENT = 1


@app.command()
def create(config: Config = None, pairs: Set = None, level: Level = "warning") -> None:
    """Create what is missing and correct what differs; running it twice changes nothing."""
    loaded = configure(config, pairs, level)
    for line in topics.create(kafka_of(loaded)) or ["every topic is as it should be"]:
        typer.echo(line)


@app.command()
def diff(config: Config = None, pairs: Set = None, level: Level = "warning") -> None:
    """Say what differs, change nothing; exit status 1 if anything does."""
    loaded = configure(config, pairs, level)
    found = topics.diff(kafka_of(loaded))
    for difference in found:
        typer.echo(f"{difference.topic}: {difference.what}")
    if found:
        raise typer.Exit(DIFFERENT)
    typer.echo("every topic is as it should be")
