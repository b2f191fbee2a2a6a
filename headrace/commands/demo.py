"""`headrace demo`: real models behind real Kafka, a load, a count of every answer, and a verdict."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NoReturn

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
from headrace.scenario import command as scenarios
from headrace.scenario import show as show_scenario
from headrace.settings import Loaded
from headrace.stack import Stack
from headrace.state import LOGS
from registry import manifest
from simulator.loads import Shape
from streams.errors import BadSettings

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
    scenario: Annotated[
        Shape | None, typer.Option(help="Replay such a load to a planner and, beside it, to a static plan.")
    ] = None,
    fleet: Annotated[
        Path | None, typer.Option(help="The scenario's machines and models; their tasks' defaults.")
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="A trace, of which the burst is the steepest stretch.")] = None,
    picture: Annotated[Path, typer.Option(help="Where the scenario is drawn.")] = Path("scenario.png"),
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, the rest on stderr.")] = False,
) -> None:
    """Build the example models, start everything, ask a few thousand queries, and count the answers to each.

    With --scenario no model is built: the machines are emulated, and what is shown is what the planner does with a load
    that changes (docs/scenarios.md). --rate is then its largest rate, --seconds its length.

    Exit status 1 if any query has no answer, or two that are not marked as copies.
    """
    if scenario is not None:
        _scenario(scenario, configure(config, pairs, level), seconds, rate, fleet, trace, picture, as_json=json)
    for name, given in (("--fleet", fleet), ("--trace", trace)):
        if given is not None:
            raise BadSettings(f"{name} goes with --scenario")
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


def _scenario(
    shape: Shape, loaded: Loaded, seconds: float | None, rate: float | None, fleet: Path | None, trace: Path | None,
    picture: Path, *, as_json: bool,
) -> NoReturn:  # fmt: skip
    console = Console(stderr=as_json, width=None if Console().is_terminal else 160)
    until_stopped()
    try:
        played = scenarios.run(
            shape, loaded, console, seconds=None if seconds is None else round(seconds), qps=rate, trace=trace,
            fleet=fleet, picture=picture,
        )  # fmt: skip
    except KeyboardInterrupt:
        console.print("stopped")
        raise typer.Exit(STOPPED) from None
    console.print(show_scenario.table(played))
    console.print(f"picture: {picture}", highlight=False)
    if as_json:
        typer.echo(show_scenario.as_json(played))
    raise typer.Exit(BROKEN if any(each.lost for each in played.ran.scores.values()) else 0)


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
