"""`headrace broker`: a real Kafka on this machine, until Ctrl-C."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from streams.broker import LocalBroker
from streams.broker.check import findings
from streams.broker.local import NODES_MAX
from streams.settings import BOOTSTRAP_ENV

ALIVE_CHECK_S = 0.5


def broker(
    port: Annotated[
        int | None,
        typer.Option(min=1024, max=65_000, show_default="free", help="Client port; with more nodes the next ones too."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(file_okay=False, writable=True, show_default="removed at the end", help="Keep the data here."),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, max=NODES_MAX, help="Brokers; three survive the loss of one.")] = 1,
    check: Annotated[bool, typer.Option("--check", help="Say what would go wrong, start nothing, and exit.")] = False,
) -> None:
    """Run Apache Kafka 4.3 on this machine, reachable from this machine only, until Ctrl-C.

    The first start fetches Kafka (45 MB, once per user); later ones take about a second. No Docker or Java is needed:
    Headrace's extra local brings a runtime. The address is printed as a line to copy into another terminal.
    """
    ports = [] if port is None else list(range(port, port + nodes))
    if check:
        raise typer.Exit(_report(data, nodes, ports))
    local = LocalBroker(data, nodes=nodes, ports=ports or None)
    for name in (signal.SIGTERM, signal.SIGHUP):  # both stop it in order, as Ctrl-C does
        if signal.getsignal(name) is not signal.SIG_IGN:  # nohup means it
            signal.signal(name, signal.default_int_handler)
    try:
        with local:
            typer.echo(f"export {BOOTSTRAP_ENV}={local.bootstrap}")
            kept = f"kept in {data}" if data else "removed at the end"
            typer.echo(f"Kafka is up: {nodes} node(s), data {kept}. Ctrl-C stops it.", err=True)
            while True:
                local.require_alive()
                time.sleep(ALIVE_CHECK_S)
    except KeyboardInterrupt:
        typer.echo("Kafka has stopped.", err=True)


def _report(data: Path | None, nodes: int, ports: list[int]) -> int:
    found = findings(data, nodes=nodes, ports=ports)
    for finding in found:
        mark = "ok" if finding.problem is None else finding.problem.code
        typer.echo(f"{finding.subject:<6} {mark}: {finding.detail}")
    return 1 if any(finding.problem for finding in found) else 0
