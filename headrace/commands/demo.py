"""`headrace demo`: real models behind real Kafka, a load, a count of every answer, and a verdict."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console

from examples.build import build_all
from examples.store import default_out
from headrace.commands.up import until_stopped
from headrace.demo.report import as_json, show
from headrace.demo.run import Demo
from headrace.demo.setup import with_defaults
from headrace.models import records_for
from headrace.options import Config, Level, Set, configure
from headrace.stack import Stack

BROKEN, STOPPED = 1, 130


def demo(
    config: Config = None,
    pairs: Set = None,
    level: Level = "error",
    queries: Annotated[int, typer.Option(min=50, max=1_000_000, help="In the steady phase.")] = 3_000,
    rate: Annotated[float | None, typer.Option(min=1, max=20_000, help="A second.", show_default="calibrated")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, max=3_600, help="Of the steady phase, instead.")] = None,
    chaos: Annotated[bool, typer.Option("--chaos", help="Kill an executor with -9 in the middle of it.")] = False,
    torch: Annotated[bool, typer.Option("--torch", help="Load the torch variants too; slower to start.")] = False,
    executors: Annotated[int | None, typer.Option(min=1, show_default="cores, at most 4")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, the rest on stderr.")] = False,
) -> None:
    """Build the example models, start everything, ask a few thousand queries, and count the answers to each.

    Exit status 1 if any query has no answer, or two that are not marked as copies.
    """
    loaded = with_defaults(config, pairs, configure(config, pairs, level, up={"executors": executors}), torch=torch)
    console = Console(stderr=json, width=None if Console().is_terminal else 140)
    until_stopped()
    try:
        began = time.monotonic()
        build_all(default_out(), console)
        stack = Stack(loaded, config=config, records=records_for(loaded, console.print), tell=console.print)
        with stack:
            heard = stack.wait_ready()
            console.print(f"ready {time.monotonic() - began:.0f} s after the start")
            found = Demo(stack, loaded, console).run(
                heard, queries=queries, rate_qps=rate, seconds=seconds, chaos=chaos
            )
    except KeyboardInterrupt:
        console.print("stopped")
        raise typer.Exit(STOPPED) from None
    show(found, console)
    if json:
        typer.echo(as_json(found))
    raise typer.Exit(0 if found.kept else BROKEN)
