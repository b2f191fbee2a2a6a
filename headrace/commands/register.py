"""`headrace register MODEL`: check and publish one model, or publish a folder of manifests."""

from __future__ import annotations

import collections
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from headrace.options import Check, Config, Level, Set, configure, kafka_of
from headrace.pools import pools
from headrace.settings import Loaded
from registry import manifest, topic
from registry.lifecycle_shell import admitted
from registry.records import Accuracy, Model, Record
from registry.register import Registered
from streams.errors import BadSettings

GENERATE_SHARE = 2 / 3  # of --minutes; what is not profiled by then, an executor measures when it loads it
EACH_S = 4.0  # of measuring one variant, as `headrace profile` takes


def register(
    model: Annotated[Path, typer.Argument(exists=True, help="A model.toml, or a folder that holds */model.json.")],
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
    check: Check = False,
    generate: Annotated[
        bool, typer.Option("--generate", help="Then try every way to run it here, profile and publish them.")
    ] = False,
    minutes: Annotated[float, typer.Option(min=0.1, help="For --generate; `headrace generate` does the rest.")] = 10.0,
    samples: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Photographs for --generate, where there are no labels."),
    ] = None,
) -> None:
    """Check a model that a file describes, put its files into the store and publish it: docs/models.md says how.

    A folder of manifests (as `python -m examples.build` makes one) is published as it is, with its tasks and pools.
    """
    if generate and (check or model.is_dir()):
        raise BadSettings("--generate is for one model.toml that is published, not for a folder, nor with --check")
    loaded = configure(config, pairs, level)
    if model.is_dir():
        _folder(model, loaded, check)
        return
    made = _one(model, loaded, check)
    if generate:
        _generate(made.model, loaded, minutes * 60, samples)


def _one(path: Path, loaded: Loaded, check: bool) -> Registered:
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
    return made


def _generate(model: Model, loaded: Loaded, budget_s: float, samples: Path | None) -> None:
    """Generate for two thirds of the time at most, and profile for what is left. Both publish as they go."""
    from headrace.profiling import WIDTH, profile_registered
    from headrace.variants.folder import default_out
    from headrace.variants.offering import Asked, add_rows, offered, records_of

    began = time.monotonic()
    kafka, settings, own = kafka_of(loaded), loaded.settings.artifacts, loaded.settings.executor
    err, out = Console(stderr=True), Console(width=None if Console().is_terminal else WIDTH)
    asked = Asked(
        out=default_out(), pictured={} if samples is None else {model.task: samples}, budget_s=GENERATE_SHARE * budget_s
    )
    table = Table("variant", "accuracy", "", box=None)
    ((_, made),) = offered([model], asked, settings, err)
    topic.publish(kafka, records_of(made, settings))
    add_rows(table, model, made)
    out.print(table)
    names = [variant.name for variant in made.variants if variant.hardware == own.hardware]
    left_s = budget_s - (time.monotonic() - began)
    done = profile_registered(kafka, own, names, seconds=left_s, each_s=EACH_S, console=err)
    for reason in done.refused.values():
        typer.echo(f"not profiled: {reason}")
    left = len(made.left) + len(done.left)
    told = f"; no time for {left}: `headrace generate --publish` and `headrace profile` go on" if left else ""
    counts = f"{len(made.variants)} variants, {len(made.refused)} refused, {len(done.profiles)} profiled now"
    typer.echo(f"published: {counts}{told}")


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
