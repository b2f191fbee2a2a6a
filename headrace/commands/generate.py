"""`headrace generate [DIR]`: try every way to run the models of a folder or of the registry, and publish what holds."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from headrace.options import Config, Level, Set, configure, kafka_of
from headrace.settings import Loaded
from headrace.variants.folder import default_out
from headrace.variants.generating import Generated
from headrace.variants.judging import Rules
from headrace.variants.offering import Asked, add_rows, offered, records_of
from registry import manifest, topic
from registry.generate import name
from registry.lifecycle import Role, role
from registry.records import Model
from streams.errors import BadSettings

WIDTH = 140  # where no terminal says


def generate(
    folder: Annotated[
        Path | None, typer.Argument(file_okay=False, exists=True, help="Holds */model.json; left out: the registry.")
    ] = None,
    only: Annotated[str, typer.Option(help="Models whose name fits.")] = "*",
    validation: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=PATH", help="Labelled items of a task: .npz or folder. May be repeated."),
    ] = None,
    samples: Annotated[
        list[str] | None, typer.Option(metavar="TASK=DIR", help="Photographs, where there are no labels.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="What is known, and converted models; default: the cache.")] = None,
    accuracy_drop_max: Annotated[float, typer.Option(min=0.0, max=1.0, help="Against fp32.")] = 0.01,
    ways: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Of names behind the /, as onnxruntime*.", show_default="*")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.0, help="For all of it; what is left, the next call tries.", show_default="no end")
    ] = math.inf,
    publish: Annotated[bool, typer.Option("--publish", help="Into the registry of the configured cluster.")] = False,
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
) -> None:
    """Try each model in every framework, precision and width that this machine has; only what holds is offered.

    Runs again where it was stopped: what is known is not tried again.
    """
    loaded = configure(config, pairs, level)
    settings = loaded.settings.artifacts
    known = _registered(loaded) if folder is None else manifest.read(folder)
    models = [each for each in known if isinstance(each, Model) and fnmatchcase(each.name, only)]
    if not models:
        raise BadSettings(f"{folder or 'the registry'} has no model {only!r}")
    asked = Asked(
        out=out or default_out(), labelled=_by_task(validation, "--validation"),
        pictured=_by_task(samples, "--samples"), rules=Rules(accuracy_drop_max=accuracy_drop_max),
        ways=tuple(ways or ("*",)), budget_s=minutes * 60,
    )  # fmt: skip
    table = Table("variant", "accuracy", "", box=None)
    every: list[Generated] = []
    for model, made in offered(models, asked, settings, Console(stderr=True)):
        if publish:  # at once: what was found before this is stopped, or before a store is away, is there
            topic.publish(kafka_of(loaded), records_of(made, settings))
        add_rows(table, model, made)
        every.append(made)
    Console(width=None if Console().is_terminal else WIDTH).print(table)
    published, refused, left = (
        sum(len(part) for part in parts)
        for parts in zip(*((each.variants, each.refused, each.left) for each in every), strict=True)
    )
    told = f"; no time for {left}: call again, or raise --minutes" if left else ""
    typer.echo(f"{published} variants{' published' if publish else ''}, {refused} refused{told}")


def _registered(loaded: Loaded) -> list[Model]:
    """Of each name the version in force, and others that are not retired and whose variants have names of their own."""
    versions = topic.read(kafka_of(loaded)).versions
    found = []
    for each, in_force in sorted(versions.models.items()):
        release = versions.releases.get(each)
        for version, model in sorted(versions.of(each).items()):
            apart = name(model, "") != name(in_force, "") and role(release, version) is not Role.RETIRED
            if model is in_force or apart:
                found.append(model)
    return found


def _by_task(pairs: list[str] | None, option: str) -> dict[str, Path]:
    """`task=path` pairs.

    Raises: BadSettings.
    """
    found = {}
    for pair in pairs or ():
        task, equals, path = pair.partition("=")
        if not (task and equals and Path(path).exists()):
            raise BadSettings(f"{option} {pair!r} is not TASK=PATH of something that exists")
        found[task] = Path(path)
    return found
