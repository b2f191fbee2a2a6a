"""`headrace explain plan|query`: why it runs what it runs, and why a query went where it did."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from headrace.explaining import reading, show_plan
from headrace.explaining.plan import explained
from headrace.options import Config, Level, Set, configure, kafka_of
from streams.clock import wall_us
from streams.errors import BadSettings

WIDTH = 160  # where nobody looks

app = typer.Typer(
    name="explain",
    add_completion=False,
    help="Why it runs what it runs, and why a query went where it did.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Everything, as one JSON object.")]


@app.command()
def plan(
    which: Annotated[str, typer.Argument(metavar="EPOCH|latest", help="Which plan; they are kept for a day.")],
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
    as_json: Json = False,
) -> None:
    """Say why a plan is so: demand, lanes, what binds, why no other variant, and what the next best would cost.

    It is made again from its snapshot, and once without each variant that was chosen: a second or a few.
    """
    epoch = _epoch(which)
    kafka = kafka_of(configure(config, pairs, level))
    record = reading.plan(kafka, epoch)
    found = explained(record, reading.registry(kafka), clock=time.monotonic)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    heard = reading.planner_leads(kafka)
    _print(show_plan.rendered(found, now_us=wall_us(), planner=heard))


def _epoch(which: str) -> int | None:
    if which == "latest":
        return None
    if not which.isdecimal():
        raise BadSettings(f"{which!r} is neither the number of a plan nor `latest`")
    return int(which)


def _print(what: object) -> None:
    Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False).print(what)
