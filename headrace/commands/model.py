"""`headrace model ...`: the versions of a model, from a share of the queries to all of them, and out of service."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from headrace.options import Config, Level, Set, configure, kafka_of
from registry import lifecycle, topic
from registry.catalog import Catalog
from registry.lifecycle import ReleaseRefused, Role, opening, role
from registry.lifecycle_compare import Comparison, Finding
from registry.lifecycle_shell import change
from registry.records import Release
from streams.settings import KafkaSettings

WIDTH = 140  # where no terminal says
WORSE = 1

app = typer.Typer(
    name="model",
    add_completion=False,
    help="Versions of a model: try one on a share of the queries, compare, promote, retire.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(help="The model.")]
Version = Annotated[str, typer.Argument(help="One of its registered versions.")]
Reason = Annotated[str, typer.Option(help="Kept with the event.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(config: Config = None, pairs: Set = None, level: Level = "error", as_json: Json = False) -> None:
    """Show every version of every model, what it does and how many variants it has."""
    catalog = topic.read(_kafka(config, pairs, level))
    rows = list(_versions(catalog))
    if as_json:
        typer.echo(msgspec.json.encode([dict(zip(_COLUMNS, row, strict=True)) for row in rows]).decode())
        return
    _print(*_COLUMNS, rows=rows)


@app.command()
def history(
    name: Name, config: Config = None, pairs: Set = None, level: Level = "error", as_json: Json = False
) -> None:
    """Show every change of a model's release, oldest first, as far back as the topic goes."""
    events = topic.read(_kafka(config, pairs, level)).versions.history(name)
    if as_json:
        typer.echo(msgspec.json.encode(events).decode())
        return
    if not events:
        typer.echo(f"{name} has no release: everything that is registered of it answers")
        return
    _print(
        "number", "at", "by", "what", "stable", "canary", "share", "retired", "reason",
        rows=[
            (str(e.number), e.at, e.by, e.action, e.stable or "-", e.canary or "-", f"{e.share:g}" if e.canary else "",
             ", ".join(e.retired), e.reason)
            for e in events
        ],
    )  # fmt: skip


@app.command()
def canary(
    name: Name,
    version: Version,
    share: Annotated[float, typer.Option(min=0.0, max=lifecycle.SHARE_MAX, help="Of the queries; 0 ends it.")] = 0.1,
    reason: Reason = "",
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
) -> None:
    """Let a version answer a share of the queries, by query id, beside the stable one."""

    def step(now: Release | None, versions: Collection[str]) -> Release:
        return lifecycle.canary(now or opening(name, versions, version), versions, version, share)

    _tell(change(_kafka(config, pairs, level), name, step, reason=reason))


@app.command()
def compare(
    name: Name, config: Config = None, pairs: Set = None, level: Level = "error", as_json: Json = False
) -> None:
    """Compare the canary with the stable version: errors, latency, accuracy, agreement. Exit status 1 if it is worse.

    Reads the answers since the canary began, the last hour of them at most, and lets the stable version answer up to
    200 of the canary's queries once more, at priority 0.
    """
    found = _trial(_kafka(config, pairs, level), name)
    if as_json:
        typer.echo(msgspec.json.encode({"verdict": found.verdict, **msgspec.to_builtins(found)}).decode())
    else:
        _show(found)
    raise typer.Exit(WORSE if found.verdict is Finding.WORSE else 0)


@app.command()
def promote(
    name: Name,
    version: Annotated[str | None, typer.Argument(help="Default: the canary.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Also if it is worse, or was never tried.")] = False,
    reason: Reason = "",
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
) -> None:
    """Give a version all of the queries. The one before stays registered, to go back to.

    A canary is compared first, and promoted if it is no worse; without enough data it is not.
    """
    kafka = _kafka(config, pairs, level)
    catalog = topic.read(kafka)
    release = catalog.releases.get(name)
    wanted = version or (release.canary if release is not None else "")
    if not wanted:
        raise ReleaseRefused(f"{name} has no canary; name the version to promote")
    if not force and release is not None and release.canary == wanted:
        found = _trial(kafka, name)
        _show(found)
        if found.verdict in (Finding.WORSE, Finding.TOO_LITTLE):
            raise ReleaseRefused(f"{name} {wanted} is not promoted: {found.verdict}. Wait, end it, or use --force")

    def step(now: Release | None, versions: Collection[str]) -> Release:
        return lifecycle.promote(now or Release(model=name, number=0, id="", unversioned=wanted), versions, wanted,
                                 force=force)  # fmt: skip

    _tell(change(kafka, name, step, reason=reason))


@app.command()
def retire(
    name: Name,
    version: Version,
    force: Annotated[bool, typer.Option("--force", help="Also the stable one: nothing answers then.")] = False,
    reason: Reason = "",
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
) -> None:
    """Withdraw a version: it gets no new queries, answers what it has, and is unloaded."""

    def step(now: Release | None, versions: Collection[str]) -> Release:
        return lifecycle.retire(now or opening(name, versions, version), versions, version, force=force)

    _tell(change(_kafka(config, pairs, level), name, step, reason=reason))


_COLUMNS = ("model", "version", "role", "share", "task", "accuracy", "source", "variants", "offers")


def _versions(catalog: Catalog) -> list[tuple[str, ...]]:
    offers = catalog.offers()
    rows: list[tuple[str, ...]] = []
    for name in sorted(catalog.models):
        release = catalog.releases.get(name)
        for version, model in sorted(catalog.versions.of(name).items()):
            does = role(release, version)
            share = f"{release.share:g}" if release is not None and does is Role.CANARY else ""
            mine = [v for v in catalog.variants.values() if v.model == name and catalog.versions.model_of(v) == model]
            offered = sum(o.model == name and o.version == version for o in offers)
            rows.append(
                (name, version, does.value, share, model.task, f"{model.accuracy.value:.4g}", model.accuracy.provenance,
                 str(len(mine)), str(offered))
            )  # fmt: skip
    return rows


def _trial(kafka: KafkaSettings, name: str) -> Comparison:
    from headrace.trial import trial  # the client's imports, only where queries are sent

    return trial(kafka, name)


def _show(found: Comparison) -> None:
    rows = [
        (r.what, r.stable, r.canary, r.difference, "" if r.finding is None else r.finding.value) for r in found.rows
    ]
    title = f"{found.model}: canary {found.canary} against stable {found.stable}"
    _print("", f"stable {found.stable}", f"canary {found.canary}", "95 % interval", "finding", rows=rows, title=title)
    typer.echo(f"verdict: {found.verdict}")


def _tell(event: Release) -> None:
    canary = f", canary {event.canary} with {event.share:.0%} of the queries" if event.canary else ""
    typer.echo(f"{event.model}: {event.action}; stable {event.stable or 'none'}{canary} (event {event.number})")


def _print(*columns: str, rows: Iterable[tuple[str, ...]], title: str | None = None) -> None:
    table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def _kafka(config: Config, pairs: Set, level: Level) -> KafkaSettings:
    return kafka_of(configure(config, pairs, level))
