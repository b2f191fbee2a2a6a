"""Running one benchmark from the command line: a broker of its own, and one JSON object as the last line."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from streams.broker import LocalBroker
from streams.settings import KafkaSettings

Run = Callable[[KafkaSettings, LocalBroker], dict[str, Any]]


def report(title: str, run: Run, *, as_json: bool) -> None:
    """Start a broker, run, and print the figures; progress goes to stderr."""
    console = Console(stderr=True)
    with LocalBroker() as broker, console.status(f"{title} ..."):
        figures = run(KafkaSettings(bootstrap=broker.bootstrap), broker)
    if as_json:
        print(json.dumps({"benchmark": title, **figures, "machine": machine()}), flush=True)
        return
    table = Table("figure", "value", title=title)
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console().print(table)


def machine() -> dict[str, str]:
    """What a figure depends on besides the code."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return {
        "cpu": f"{_cpu()} x {_cores()}",
        "python": platform.python_version(),
        "confluent-kafka": version("confluent-kafka"),
        "commit": commit.stdout.strip(),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _cores() -> int:
    return len(os.sched_getaffinity(0))
