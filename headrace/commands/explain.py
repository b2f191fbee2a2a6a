"""`headrace explain plan|query`: why it runs what it runs, and why a query went where it did."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from headrace.explaining import plan as plans
from headrace.explaining import query as queries
from headrace.explaining import reading, show_plan, show_query
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
    found = plans.explained(record, reading.registry(kafka), clock=time.monotonic)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    heard = reading.planner_leads(kafka)
    _print(show_plan.rendered(found, now_us=wall_us(), planner=heard))


@app.command()
def query(
    query_id: Annotated[str, typer.Argument(metavar="ID", help="As `headrace results` shows it.")],
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
    as_json: Json = False,
) -> None:
    """Say why a query went where it did: what was weighed, what was predicted, and what came of it."""
    kafka = kafka_of(configure(config, pairs, level))
    decisions = reading.decisions(kafka, query_id)
    topic, since_us = kafka.topic("results"), None
    if decisions:
        topic, since_us = decisions[-1].reply_topic or topic, decisions[0].arrived_us
    found = queries.explained(
        query_id, decisions, reading.answers(kafka, query_id, reply_topic=topic, since_us=since_us)
    )  # fmt: skip
    if not found.decisions and not found.answers:
        raise reading.NotKept(f"nothing is known of query {query_id!r} from the last hour: {queries.HOW}")
    if as_json:
        typer.echo(queries.as_json(found))
        return
    _print(show_query.rendered(found, results=topic))


def _epoch(which: str) -> int | None:
    if which == "latest":
        return None
    if not which.isdecimal():
        raise BadSettings(f"{which!r} is neither the number of a plan nor `latest`")
    return int(which)


def _print(what: object) -> None:
    Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False).print(what)
