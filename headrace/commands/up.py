"""`headrace up`: everything on this machine, until Ctrl-C."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from headrace.fleet_file import Fleet, read
from headrace.fleet_records import records_of
from headrace.models import records_for
from headrace.options import Config, Level, Set, configure
from headrace.stack import Stack
from streams.errors import BadSettings

LOOK_S = 0.5


def up(
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
    executors: Annotated[int | None, typer.Option(min=0, show_default="cores, at most 4")] = None,
    routers: Annotated[int | None, typer.Option(min=0)] = None,
    models: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Folder of */model.json.")] = None,
    control: Annotated[
        bool | None,
        typer.Option("--control/--no-control", help="Let a planner decide what runs.", show_default="with a fleet"),
    ] = None,
    fleet_file: Annotated[
        Path | None, typer.Option("--fleet", metavar="FILE", help="Emulate the machines and models of this file.")
    ] = None,
) -> None:
    """Run a broker (unless a cluster is configured), create the topics, register models, run router and executors.

    With --control a forecaster, a planner and a provisioner decide how many executors there are, and what they hold.
    With --fleet the machines and models are those of a file; no model runs, and every answer says `emulated: true`.
    What crashes is started again; everything stops with Ctrl-C or SIGTERM, in order. `headrace status` in another
    terminal shows what runs.
    """
    own = {"executors": executors, "routers": routers, "models": models, "control": control}
    fleet = None if fleet_file is None else _fleet(fleet_file, executors, models)
    if fleet is None:
        loaded = configure(config, pairs, level, up=own)
    else:
        flags = fleet.flags(control=control is not False)
        loaded = configure(config, pairs, level, **{**flags, "up": {**flags["up"], "routers": routers}})
    until_stopped()
    records = records_for(loaded, tell) if fleet is None else records_of(fleet)
    stack = Stack(loaded, config=config, records=records, tell=tell, fleet=fleet, fleet_file=fleet_file)
    try:
        with stack:
            heard = stack.wait_ready()
            slots = sum(len(telemetry.slots) for telemetry in heard.ready)
            tell(f"ready: {len(heard.routers)} router(s), {len(heard.ready)} executor(s) with {slots} slots")
            if fleet is not None:
                tell("EMULATED: no model runs here, and every answer says `emulated: true`")
            typer.echo(f"export KAFKA_BOOTSTRAP_SERVERS={stack.kafka.bootstrap}")
            tell("Ctrl-C stops everything")
            while True:
                time.sleep(LOOK_S)
                if stack.broker is not None:
                    stack.broker.require_alive()
    except KeyboardInterrupt:
        tell("stopped")


def _fleet(path: Path, executors: int | None, models: Path | None) -> Fleet:
    if executors is not None or models is not None:
        raise BadSettings("--fleet says which machines and models there are: leave --executors and --models out")
    return read(path)


def tell(line: str) -> None:
    """Steps go to stderr, so that stdout holds only what may be copied or piped."""
    typer.echo(line, err=True)


def until_stopped() -> None:
    """SIGTERM and SIGHUP stop everything in order, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, signal.default_int_handler)
