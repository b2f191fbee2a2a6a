"""`headrace generate [DIR]`: try every way to run the models of a folder or of the registry, and publish what holds."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from headrace.options import Config, Level, Set, configure, kafka_of
from headrace.variants.folder import default_out, evidence_for
from headrace.variants.generating import Generated, generate_variants
from headrace.variants.judging import Rules
from headrace.variants.registered import at_hand, stored
from registry import manifest, topic
from registry.records import Model, Record, RefusedVariant
from streams.errors import BadSettings


def generate(
    folder: Annotated[
        Path | None, typer.Argument(file_okay=False, exists=True, help="Holds */model.json; left out: the registry.")
    ] = None,
    only: Annotated[str, typer.Option(help="Models whose name fits.")] = "*",
    validation: Annotated[
        list[str] | None, typer.Option(metavar="TASK=FILE.npz", help="Labelled items of a task; may be repeated.")
    ] = None,
    samples: Annotated[
        list[str] | None, typer.Option(metavar="TASK=DIR", help="Photographs, where there are no labels.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="What is known, and converted models; default: the cache.")] = None,
    accuracy_drop_max: Annotated[float, typer.Option(min=0.0, max=1.0, help="Against fp32.")] = 0.01,
    publish: Annotated[bool, typer.Option("--publish", help="Into the registry of the configured cluster.")] = False,
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
) -> None:
    """Try each model in every framework, precision and width that this machine has; only what holds is offered.

    Runs again where it was stopped: what is known is not tried again.
    """
    loaded = configure(config, pairs, level)
    settings = loaded.settings.artifacts
    known = topic.read(kafka_of(loaded)).models.values() if folder is None else manifest.read(folder)
    models = [each for each in known if isinstance(each, Model) and fnmatchcase(each.name, only)]
    if not models:
        raise BadSettings(f"{folder or 'the registry'} has no model {only!r}")
    labelled, pictured = _by_task(validation, "--validation"), _by_task(samples, "--samples")
    console = Console(stderr=True)
    records: list[Record] = []
    table = Table("variant", "accuracy", "", box=None)
    with Progress(TextColumn("{task.description:<48}"), BarColumn(), TimeElapsedColumn(), console=console) as bars:
        bar = bars.add_task("", total=len(models))
        for done, model in enumerate(models):

            def tell(name: str, share: float, done: int = done) -> None:
                bars.update(bar, completed=done + share, description=name)

            with at_hand(model, settings) as (here, kept):
                made = generate_variants(
                    here,
                    out=out or default_out(),
                    items=evidence_for(here, labelled.get(model.task, kept), pictured.get(model.task)),
                    rules=Rules(accuracy_drop_max=accuracy_drop_max),
                    tell=tell,
                )
            records += [*(stored(made.variants, settings) if publish else made.variants), *made.refused]
            _rows(table, model, made)
    Console().print(table)
    refusals = sum(isinstance(record, RefusedVariant) for record in records)
    typer.echo(f"{len(records) - refusals} variants, {refusals} refused")
    if publish:
        topic.publish(kafka_of(loaded), records)
        typer.echo("published")


def _rows(table: Table, model: Model, made: Generated) -> None:
    for variant in made.variants:
        accuracy = variant.accuracy or model.accuracy
        interval = "" if accuracy.low is None else f" ({accuracy.low:.4f} to {accuracy.high:.4f}, n {accuracy.n})"
        table.add_row(variant.name, f"{accuracy.value:.4f}", f"{accuracy.provenance}{interval}")
    for refusal in made.refused:
        table.add_row(refusal.variant, "refused", f"{refusal.stage}: {refusal.reason.splitlines()[0]}")


def _by_task(pairs: list[str] | None, option: str) -> dict[str, Path]:
    """`task=path` pairs.

    Raises: BadSettings.
    """
    found = {}
    for pair in pairs or ():
        task, equals, path = pair.partition("=")
        if not (task and equals and Path(path).exists()):
            raise BadSettings(f"{option} {pair!r} is not TASK=PATH of something that exists")
        found[task] = Path(path)
    return found
