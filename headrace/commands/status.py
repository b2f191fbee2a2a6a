"""`headrace status`: what runs here, what the fleet says, how far groups are behind, and what can be asked."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from rich.console import Console

from headrace import state, tables
from headrace.lag import lags
from headrace.listen import Ear
from headrace.options import Config, Level, Set, configure, kafka_of
from registry import topic
from streams.errors import Unreachable

WIDTH = 140  # where no terminal says
LISTEN_S = 0.6  # longer than the slowest heartbeat, which is the router's


def status(
    config: Config = None,
    pairs: Set = None,
    level: Level = "error",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the processes that `up` or `demo` started in this directory, and the fleet on the cluster.

    Without a configured cluster it looks at the broker that `up` started here.
    """
    loaded = configure(config, pairs, level)
    here = state.read(loaded.settings.up.state)
    kafka = kafka_of(loaded)
    try:
        with Ear(kafka) as ear:
            heard = ear.listen(LISTEN_S)
        behind = lags(kafka, AdminClient(kafka.client()))
        catalog = topic.read(kafka)
    except KafkaException as refused:
        raise Unreachable(f"{kafka.bootstrap}: {refused.args[0].str()}; `headrace topics create` may help") from refused
    if as_json:
        typer.echo(
            msgspec.json.encode(
                {
                    "bootstrap": kafka.bootstrap,
                    "prefix": kafka.prefix,
                    "processes": [] if here is None else here.processes,
                    "executors": list(heard.executors.values()),
                    "routers": list(heard.routers.values()),
                    "pools": list(heard.pools.values()),
                    "planners": list(heard.planners.values()),
                    "fleet": None if here is None else here.fleet,
                    "lag": [lag._asdict() for lag in behind],
                    "tasks": sorted(catalog.tasks),
                    "variants": sorted(catalog.variants),
                }
            ).decode()
        )
        return
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(f"Kafka at {kafka.bootstrap}, prefix {kafka.prefix}")
    if here is not None:
        if here.fleet is not None:
            console.print(f"EMULATED: no model runs on the machines of {here.fleet}, and their answers mean nothing")
        console.print(tables.processes(here.processes))
    else:
        console.print("nothing was started here by `headrace up`")
    console.print(tables.fleet(heard) if heard.executors or heard.routers else "nobody is heard on the fleet topic")
    if heard.pools:
        console.print(tables.pools(heard))
    console.print(tables.lag(behind))
    console.print(tables.catalogue(catalog, heard) if catalog.variants else "nothing is registered")
