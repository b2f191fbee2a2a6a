"""Options that several commands share, and how they become the settings of the process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace import logs, state
from headrace.settings import Loaded, load
from streams.settings import KafkaSettings

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="HEADRACE_CONFIG", show_default="headrace.toml here", help="Settings file."),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", "-s", metavar="SECTION.KEY=VALUE", help="One setting; may be repeated.")
]
Level = Annotated[logs.Level, typer.Option("--log-level", envvar="HEADRACE_LOG_LEVEL", help="Lines on stderr.")]
Check = Annotated[bool, typer.Option("--check", help="Check settings, imports and files, touch no Kafka, and exit.")]


def kafka_of(loaded: Loaded) -> KafkaSettings:
    """The cluster that is configured; without one, that of the `headrace up` which runs on this state folder."""
    kafka = loaded.settings.kafka
    here = None if loaded.cluster_given else state.read(loaded.settings.up.state)
    if here is None:
        return kafka
    return kafka.model_copy(
        update={"bootstrap": here.bootstrap, "prefix": here.prefix, "pools": here.pools or kafka.pools}
    )


def configure(config: Path | None, pairs: list[str] | None, level: logs.Level, **flags: dict[str, Any]) -> Loaded:
    """Set up logging and read the settings; `flags` are the command's own options by section.

    Where artifacts are is passed on to the processes that the command starts: some of them read no settings.
    """
    logs.setup(level)
    loaded = load(config, pairs=pairs or (), flags=flags)
    if any(section == "artifacts" for section, *_ in loaded.origins):
        os.environ.update(loaded.settings.artifacts.environment)
    return loaded
