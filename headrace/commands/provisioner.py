"""`headrace provisioner`: the machines of one pool, as executor processes here, until SIGTERM."""

from __future__ import annotations

import os
import signal
from typing import Annotated

import typer

from headrace.options import Check, Config, Level, Set, configure
from headrace.roles import environment
from streams.errors import BadSettings
from streams.properties import require_valid


def provisioner(
    config: Config = None,
    pairs: Set = None,
    level: Level = "info",
    check: Check = False,
    pool: Annotated[str | None, typer.Option(help="Whose machines it keeps.")] = None,
    least: Annotated[int | None, typer.Option(min=0, help="Machines, whatever is ordered.")] = None,
    most: Annotated[int | None, typer.Option(min=0, help="Machines, whatever is ordered.")] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Of each machine.")] = None,
) -> None:
    """Keep as many machines of a pool as the last order on `scaling` says, within `least` and `most`.

    A machine is an executor process on this one, with CPUs of its own while there are enough. What is never heard of,
    or falls silent, is replaced; what is too much finishes what it has first. They end with this process.
    """
    own = {"pool": pool, "least": least, "most": most, "cores": cores}
    loaded = configure(config, pairs, level, provisioner=own)
    settings = loaded.settings
    mine = settings.provisioner
    if mine.most > settings.kafka.slots:
        raise BadSettings(
            f"[provisioner] most = {mine.most}: more than [kafka] slots = {settings.kafka.slots}, "
            "and an executor without a slot gets no work"
        )
    from agents.machines import LocalMachines
    from agents.provisioner import Provisioner

    if check:
        require_valid(settings.kafka)
        typer.echo(f"provisioner of {mine.pool}: {mine.least} to {mine.most} machines of {mine.cores} cores here")
        return
    env = environment(loaded, config=config, bootstrap=settings.kafka.bootstrap)
    machines = LocalMachines(pool=mine.pool, cores=mine.cores, env=env, logs=mine.logs, stop_s=mine.drain_s)
    made = Provisioner(mine, settings.kafka, machines)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: made.stop())
    typer.echo(f"provisioner {os.getpid()}: pool {mine.pool}, {mine.least} to {mine.most} machines", err=True)
    made.run()
