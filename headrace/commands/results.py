"""`headrace results`: answers on the results topic, one line each."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.durations import seconds
from headrace.options import Config, Level, Set, configure, kafka_of
from headrace.printing import answer_json, answer_line
from headrace.tail import Tail
from streams.clock import wall_us

QUIET_S = 2.0  # without --follow: the end is where nothing comes for so long


def results(
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    since: Annotated[str | None, typer.Option(help="Begin so far back: 30s, 10m, 2h, 1d.", show_default="now")] = None,
    partition: Annotated[int | None, typer.Option(min=0, show_default="all", help="Only this partition.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print answers, with --since those of the past too. It reads beside the clients and takes nothing from them."""
    loaded = configure(config, pairs, level)
    since_us = None if since is None else wall_us() - seconds(since, option="--since") * 1_000_000
    with Tail(kafka_of(loaded), partition=partition, since_us=since_us) as tail:
        for heard in tail.follow(quiet_s=None if follow else QUIET_S):
            typer.echo(answer_json(heard.answer) if as_json else answer_line(heard.answer))
