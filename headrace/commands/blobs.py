"""`headrace blobs put|get|prune`: the store of values that are too large for a record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace.durations import seconds
from headrace.options import Config, Level, Set, configure
from streams.blobs import Store, open_store
from streams.contract import SET_STORE
from streams.errors import NoStore

app = typer.Typer(
    name="blobs",
    help="Put values into the store of what is too large for a record, get them, remove old ones.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def put(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
) -> None:
    """Put a file there and print its claim check: the header `claim-check` of a query with an empty value."""
    typer.echo(_store(config, pairs, level).put_file(file))


@app.command()
def get(
    claim: Annotated[str, typer.Argument(help="sha256:..., as the header `claim-check` has it.")],
    file: Annotated[Path, typer.Argument(dir_okay=False, help="Where to write it.")],
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
) -> None:
    """Get a value into a file, which is there whole and checked, or not at all."""
    _store(config, pairs, level).get_file(claim, file)


@app.command()
def prune(
    older_than: Annotated[str, typer.Option(help="Since it was last put: 30s, 10m, 2h, 1d.")],
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
) -> None:
    """Remove what was last put longer ago than that, and what was left half-written.

    Keep values for as long as the topics keep the queries and answers that name them. For a bucket a lifecycle rule
    does the same by itself.
    """
    span_s = seconds(older_than, option="--older-than")
    gone = _store(config, pairs, level).prune(span_s)
    typer.echo(f"removed {gone.values} values, {gone.size_bytes / 1e6:.1f} MB")


def _store(config: Path | None, pairs: list[str] | None, level: Level) -> Store:
    store = open_store(configure(config, pairs, level).settings.blobs)
    if store is None:
        raise NoStore(f"no store is configured; {SET_STORE}")
    return store
