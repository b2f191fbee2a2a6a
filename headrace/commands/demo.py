"""`headrace demo`: real models behind real Kafka, a load, a count of every answer, and a verdict."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Annotated

import typer
from rich.console import Console

from examples.build import build_all
from examples.store import default_out
from headrace.commands.up import until_stopped
from headrace.demo.menu import Menu
from headrace.demo.report import as_json, show
from headrace.demo.run import Demo
from headrace.demo.setup import ways, with_defaults
from headrace.options import Config, Level, Set, configure
from headrace.pools import pools
from headrace.settings import Loaded
from headrace.stack import Stack
from headrace.state import LOGS
from registry import manifest

BROKEN, STOPPED = 1, 130


def demo(
    config: Config = None,
    pairs: Set = None,
    level: Level = "error",
    queries: Annotated[int, typer.Option(min=50, max=1_000_000, help="In the steady phase.")] = 3_000,
    rate: Annotated[float | None, typer.Option(min=1, max=20_000, help="A second.", show_default="calibrated")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, max=3_600, help="Of the steady phase, instead.")] = None,
    chaos: Annotated[bool, typer.Option("--chaos", help="Kill an executor with -9 in the middle of it.")] = False,
    torch: Annotated[bool, typer.Option("--torch", help="Load torch's variants too; starts 10 s later.")] = False,
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
        console.print(_announced(loaded), highlight=False)
        times = [time.monotonic()]
        _models(console)
        times.append(time.monotonic())

        def tell(line: str) -> None:
            console.print(line, highlight=False)

        menu = Menu(loaded, default_out(), ways(torch=torch), console)
        with Stack(
            loaded, config=config, records=pools(loaded.settings.kafka), tell=tell, prepare=menu.register
        ) as stack:
            times.append(time.monotonic())
            heard = stack.wait_ready()
            times.append(time.monotonic())
            parts = zip(("building models", "Kafka and registering", "loading models"), pairwise(times), strict=True)
            took = ", ".join(f"{part} {end - start:.0f} s" for part, (start, end) in parts)
            tell(f"ready after {times[-1] - times[0]:.0f} s: {took}")
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


def _announced(loaded: Loaded) -> str:
    settings = loaded.settings
    kafka = "the Kafka that is configured" if loaded.cluster_given else "a Kafka of its own"
    return (
        f"Headrace here: {kafka}, {settings.up.routers} router(s), {settings.up.executors} executor(s). About 40 s; "
        f"the first time three minutes.\nLogs are in {settings.up.state / LOGS}; Ctrl-C stops everything in order."
    )


def _models(console: Console) -> None:
    """Build what is missing, and say so before it takes its time."""
    if not any(default_out().glob(f"*/{manifest.MANIFEST}")):
        console.print(
            "building the example models, once, about a minute: five for digits are trained, three for images"
        )
    build_all(default_out(), console)
