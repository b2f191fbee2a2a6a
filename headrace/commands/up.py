"""`headrace up`: everything on this machine, until Ctrl-C."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from headrace.models import records_for
from headrace.options import Config, Level, Set, configure
from headrace.stack import Stack

LOOK_S = 0.5


def up(
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
    executors: Annotated[int | None, typer.Option(min=0, show_default="cores, at most 4")] = None,
    routers: Annotated[int | None, typer.Option(min=0)] = None,
    models: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Folder of */model.json.")] = None,
) -> None:
    """Run a broker (unless a cluster is configured), create the topics, register models, run router and executors.

    What crashes is started again; everything stops with Ctrl-C or SIGTERM, in order. `headrace status` in another
    terminal shows what runs.
    """
    loaded = configure(config, pairs, level, up={"executors": executors, "routers": routers, "models": models})
    until_stopped()
    stack = Stack(loaded, config=config, records=records_for(loaded, tell), tell=tell)
    try:
        with stack:
            heard = stack.wait_ready()
            slots = sum(len(telemetry.slots) for telemetry in heard.ready)
            tell(f"ready: {len(heard.routers)} router(s), {len(heard.ready)} executor(s) with {slots} slots")
            typer.echo(f"export KAFKA_BOOTSTRAP_SERVERS={stack.kafka.bootstrap}")
            tell("Ctrl-C stops everything")
            while True:
                time.sleep(LOOK_S)
                if stack.broker is not None:
                    stack.broker.require_alive()
    except KeyboardInterrupt:
        tell("stopped")


def tell(line: str) -> None:
    """Steps go to stderr, so that stdout holds only what may be copied or piped."""
    typer.echo(line, err=True)


def until_stopped() -> None:
    """SIGTERM and SIGHUP stop everything in order, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, signal.default_int_handler)
