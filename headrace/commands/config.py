"""`headrace config`: the settings in force and where each came from, or a commented example file."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.options import Config, Level, Set, configure
from headrace.show import effective, example


def config(
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
    as_example: Annotated[bool, typer.Option("--example", help="Print a commented file with every key.")] = False,
) -> None:
    """Print the settings in force as TOML, each with its origin; secrets are masked.

    Order of precedence: headrace.toml (or --config), environment (HEADRACE_KAFKA__PREFIX=..., and
    KAFKA_BOOTSTRAP_SERVERS), then --set and a command's own options.
    """
    typer.echo(example() if as_example else effective(configure(config, pairs, level)), nl=False)
