"""`headrace simulate SCENARIO`: what policies would make of a load, by the code that ships, in less than real time."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from headrace import logs
from headrace.options import Level
from headrace.simulating.file import read
from headrace.simulating.runs import Runs, run_all, summary
from streams.errors import BadSettings

CODES_MAX = 3


def simulate(
    scenario: Annotated[Path, typer.Argument(help="The file; docs/simulator.md says what stands in it.")],
    policy: Annotated[str | None, typer.Option(help="Of the file, with commas between.", show_default="all")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1_000, help="Runs of each policy, on loads of their own.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the first run.")] = 1,
    processes: Annotated[int | None, typer.Option(min=1, max=256, show_default="one a core")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, the rest on stderr.")] = False,
    level: Level = "warning",
) -> None:
    """Run a scenario under each policy, and compare: shares not in time, accuracy, dollars.

    Selection, batching, forecasting and planning are the code that ships; Kafka's hops, batches, loads and boots take
    modelled time. The same file and seed give the same run, as far as every plan ends at its gap.
    """
    logs.setup(level)
    names = read(scenario).names
    chosen = names if policy is None else policy.split(",")
    if unknown := [name for name in chosen if name not in names]:
        raise BadSettings(f"--policy {','.join(unknown)}: {scenario} has {', '.join(names)}")
    console = Console(stderr=json, width=None if Console().is_terminal else 132)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("simulating", total=len(chosen) * seeds)
        runs = run_all(
            scenario, chosen, range(seed, seed + seeds), processes=processes,
            tell=lambda done: bars.update(task, completed=done),
        )  # fmt: skip
    console.print(_table(runs, f"{scenario.stem}, {seeds} seed(s)"))
    if json:
        typer.echo(json_module.dumps(dict(summary(runs))))


def _table(runs: Runs, title: str) -> Table:
    table = Table(
        "policy", "queries", "not in time", "from", "to", "accuracy", "$ an hour", "cores", "most common refusals",
        title=title, title_justify="left",
    )  # fmt: skip
    for name, row in summary(runs):
        most = sorted(row["codes"].items(), key=lambda each: -each[1])[:CODES_MAX]
        table.add_row(
            name, f"{row['queries']:,}", f"{row['violations']:.3%}", f"{row['violations_low']:.3%}",
            f"{row['violations_high']:.3%}", f"{row['accuracy']:.2%}", f"{row['usd_hour']:.3f}", f"{row['cores']:.1f}",
            ", ".join(f"{count} {code}" for code, count in most) or "-",
        )  # fmt: skip
    return table
