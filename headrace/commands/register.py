"""`headrace register MODEL`: check and publish one model, or publish a folder of manifests."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headrace.options import Check, Config, Level, Set, configure, kafka_of
from headrace.pools import pools
from headrace.settings import Loaded
from registry import manifest, topic
from registry.lifecycle_shell import admitted
from registry.records import Accuracy, Record


def register(
    model: Annotated[Path, typer.Argument(exists=True, help="A model.toml, or a folder that holds */model.json.")],
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
    check: Check = False,
) -> None:
    """Check a model that a file describes, put its files into the store and publish it: docs/models.md says how.

    A folder of manifests (as `python -m examples.build` makes one) is published as it is, with its tasks and pools.
    """
    loaded = configure(config, pairs, level)
    if model.is_dir():
        _folder(model, loaded, check)
    else:
        _one(model, loaded, check)


def _one(path: Path, loaded: Loaded, check: bool) -> None:
    from headrace.registering import register as registered

    console = Console(stderr=True)
    with console.status("checking") as status:
        made = registered(path, loaded=loaded, publish=not check, progress=status.update)
    of = made.model
    frameworks = ", ".join(f"{name} ({artifact.bytes / 1e6:.1f} MB)" for name, artifact in of.artifacts.items())
    typer.echo(f"{of.name} {of.version} for {of.task}: {frameworks}")
    typer.echo(f"accuracy {_accuracy(of.accuracy)}, {of.accuracy.provenance}: {of.accuracy.source}")
    for framework, difference in made.differences.items():
        typer.echo(f"{framework} answers as {next(iter(of.artifacts))} does, to {difference:.1e}")
    for note in made.notes:
        typer.echo(f"note: {note}")
    variants = ", ".join(variant.name for variant in made.variants)
    typer.echo(f"{'in order, nothing published' if check else 'registered'}: {variants}")


def _accuracy(of: Accuracy) -> str:
    if of.low is None or of.high is None:
        return f"{of.value:.1%}"
    return f"{of.value:.1%} ({of.low:.1%} to {of.high:.1%})"


def _folder(folder: Path, loaded: Loaded, check: bool) -> None:
    records: list[Record] = [*pools(kafka_of(loaded)), *manifest.read(folder)]
    counted = collections.Counter(type(record).__name__.lower() for record in records)
    told = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counted.items())
    if check:
        typer.echo(f"{folder}: {told}, in order")
        return
    kafka = kafka_of(loaded)
    topic.publish(kafka, admitted(topic.read(kafka), records))
    typer.echo(f"registered {told}")
