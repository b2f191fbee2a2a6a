"""`headrace doctor`: what is wrong here, on the cluster, or with the models, and what to do."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from confluent_kafka.admin import AdminClient

from headrace import state
from headrace.doctor import cluster, machine, models, store
from headrace.doctor.finding import Finding, looked
from headrace.options import Config, Level, Set, configure, kafka_of

FAILED = 1
_COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}


def doctor(
    config: Config = None,
    pairs: Set = None,
    level: Level = "error",
    local: Annotated[bool, typer.Option("--local", help="Look at this machine only.")] = False,
) -> None:
    """Look at everything that Headrace needs, one line each with what to do; exit status 1 if anything fails.

    On the cluster it makes a topic of its own for a moment, to join a group and to compare clocks.
    """
    loaded = configure(config, pairs, level)
    settings, kafka = loaded.settings, kafka_of(loaded)
    failed = _print(looked("python", machine.python))
    failed |= _print(looked("extras", machine.extras))
    failed |= _print(looked("disk", partial(machine.disk, settings)))
    failed |= _print(looked("cores", partial(machine.cores, settings)))
    failed |= _print(looked("store", partial(store.store, settings)))
    if not loaded.cluster_given and state.read(settings.up.state) is None:
        failed |= _print(looked("broker", partial(machine.broker, settings)))
        local = True
        _print([Finding("ok", "cluster", "none configured: `headrace up` starts a local one")])
    if local:
        failed |= _print(looked("models", partial(models.built, settings)))
    else:
        admin = AdminClient(kafka.client(), logger=None)
        reached = looked("cluster", partial(cluster.reachable, kafka, admin))
        failed |= _print(reached)
        if all(finding.verdict != "fail" for finding in reached):
            for subject, look in (
                ("router", partial(cluster.transport, kafka)),
                ("groups", partial(cluster.groups, kafka, admin)),
                ("clock", partial(cluster.skew, kafka, admin)),
                ("topics", partial(cluster.layout, kafka, admin)),
                ("models", partial(models.registered, kafka, settings.artifacts)),
            ):
                failed |= _print(looked(subject, look))
    raise typer.Exit(FAILED if failed else 0)


def _print(findings: list[Finding]) -> bool:
    for finding in findings:
        mark = typer.style(f"{finding.verdict:<4}", fg=_COLOURS[finding.verdict])
        typer.echo(f"{mark}  {finding.subject:<15} {finding.detail}" + (f" -> {finding.todo}" if finding.todo else ""))
    return any(finding.verdict == "fail" for finding in findings)
