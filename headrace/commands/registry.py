"""`headrace registry import|artifacts`: catalogues from other people's profile tables, and the files of a store."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from headrace.durations import seconds
from headrace.options import Config, Level, Set, configure, kafka_of
from registry.catalog import Catalog
from registry.scale import ARCHITECTURES, VARIANTS, scale
from registry.store import open_artifacts
from registry.tables.curve import catalogue, records
from registry.tables.file import save
from registry.tables.read import BadTable, read
from registry.topic import Follower
from registry.unused import files, named
from streams.errors import BadSettings
from streams.settings import KafkaSettings

ROWS_SHOWN = 4  # of each rule, unless all are asked for

app = typer.Typer(
    name="registry",
    add_completion=False,
    help="Catalogues from profile tables; files of models that nothing names any more.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="CSV or text tables; prices too.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", dir_okay=False, help="Write one record a line.")] = None,
    scaled: Annotated[
        bool, typer.Option("--scale", help=f"Make {ARCHITECTURES} architectures with {VARIANTS} variants of it.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of --scale.")] = 1,
    every: Annotated[bool, typer.Option("--all", help="List every row that was cleaned.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was cleaned as JSON.")] = False,
) -> None:
    """Read profile tables of Proteus, InfAdapter, INFless and AWS Neuron, and say what was cleaned in them.

    Nothing is published: there are no weights, so nothing of it can run. `--out` is for planner and simulator.
    """
    found = read(files)
    try:
        made = scale(found.curves, seed=seed) if scaled else records(found.curves)
    except ValueError as bad:
        raise BadTable(str(bad)) from bad
    if as_json:
        typer.echo(msgspec.json.encode({"cleaned": found.cleaned}).decode())
    else:
        for cleaning in found.cleaned:
            shown = cleaning.rows if every else cleaning.rows[:ROWS_SHOWN]
            more = len(cleaning.rows) - len(shown)
            named = "" if cleaning.rows == ["all"] else ": " + "; ".join(shown) + (f"; and {more} more" if more else "")
            typer.echo(f"{cleaning.table}: {cleaning.rule}{named}")
    kinds = Counter(type(record).__name__.lower() for record in made)
    offers = len(catalogue(made).offers())
    counted = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(kinds.items()))
    typer.echo(f"{counted}; {offers} offers", err=as_json)
    if out is not None:
        save(made, out)
        typer.echo(f"wrote {out}", err=as_json)


@app.command()
def artifacts(
    unused: Annotated[bool, typer.Option("--unused", help="Only what no registered record names.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what nothing names; without it nothing is.")] = False,
    older_than: Annotated[str, typer.Option(help="Remove only what was put before that: 30m, 2h, 1d.")] = "1d",
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
) -> None:
    """List the files of the artifact store and what names them, and remove those that nothing names.

    What a registered version names is kept, a retired one's too, and so is what was put a moment ago. Only the
    registry of the configured cluster and prefix is read: do not remove from a store that others share.
    """
    span_s = seconds(older_than, option="--older-than")
    loaded = configure(config, pairs, level)
    kafka, store = kafka_of(loaded), open_artifacts(loaded.settings.artifacts)
    found = files(list(store.kept()), _whole(kafka, remove))
    before = time.time() - span_s
    for file in found:
        if file.named_by and (unused or remove):
            continue
        told = ", ".join(file.named_by) or "nothing names it"
        typer.echo(f"{file.kept.digest}  {file.kept.size_bytes / 1e6:9.3f} MB  {told}")
    free = [file.kept for file in found if not file.named_by]
    old = [each for each in free if each.put_s < before]
    if remove:
        names = named(_whole(kafka, remove))  # once more: it takes a while to list a large store
        old = [each for each in old if each.digest not in names]
        for each in old:
            store.remove(each.digest)
    size = f"{sum(each.size_bytes for each in old) / 1e6:.1f} MB"
    done = f"removed {len(old)}" if remove else f"--remove would remove {len(old)}"
    typer.echo(f"{len(found)} files, {len(free)} that nothing names; {done} put more than {older_than} ago, {size}")


def _whole(kafka: KafkaSettings, remove: bool) -> Catalog:
    """The registry; to remove by it, all of it must be readable and there must be something in it.

    Raises: BadSettings, Unreachable.
    """
    follower = Follower(kafka)
    follower.start()
    try:
        catalog = follower.wait()
    finally:
        follower.stop()
    where = f"{kafka.topic('registry')} at {kafka.bootstrap}"
    if remove and follower.unreadable:
        raise BadSettings(f"{where} has {follower.unreadable} records of a newer version, which may name files")
    if remove and not catalog.models:
        raise BadSettings(f"no model is registered in {where}; is it the right cluster and prefix?")
    return catalog
