"""`headrace registry import FILE...`: other people's profile tables as a catalogue for planner and simulator."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from registry.scale import ARCHITECTURES, VARIANTS, scale
from registry.tables.curve import catalogue, records
from registry.tables.file import save
from registry.tables.read import BadTable, read

ROWS_SHOWN = 4  # of each rule, unless all are asked for

app = typer.Typer(
    name="registry",
    add_completion=False,
    help="Catalogues from profile tables.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def registry() -> None:
    """Keeps `import` a subcommand while it is the only one."""


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
