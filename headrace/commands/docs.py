"""`headrace docs generate|check`: the pages that come from tables in code."""

from __future__ import annotations

from pathlib import Path

import typer

import headrace
from headrace.pages import pages
from streams.errors import BadSettings

DIFFERENT = 1

app = typer.Typer(
    name="docs",
    help="Generate the pages that come from tables in code, or check that they are up to date.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def generate() -> None:
    """Write every generated page of this checkout."""
    root = _checkout()
    for path, text in pages().items():
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text:
            (root / path).write_text(text, encoding="utf-8")
            typer.echo(f"wrote {path}")


@app.command()
def check() -> None:
    """Write nothing; exit status 1 if a page is not what the code says."""
    root = _checkout()
    stale = [
        path
        for path, text in pages().items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text
    ]
    for path in stale:
        typer.echo(f"{path} is out of date: headrace docs generate")
    raise typer.Exit(DIFFERENT if stale else 0)


def _checkout() -> Path:
    """Where the sources are. Raises: BadSettings from an installation without them."""
    root = Path(headrace.__file__).parent.parent
    if not (root / "docs").is_dir():
        raise BadSettings(f"no docs folder in {root}: pages are generated in a checkout")
    return root
