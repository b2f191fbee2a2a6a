"""`headrace profile`: how long the variants take on this machine, measured with every lane busy, the gaps predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from executors.hardware import machine_kind, usable_cores
from executors.probing import claim
from executors.profiling_campaign import Done
from executors.profiling_plan import known_of, plan
from headrace.options import Check, Config, Level, Set, configure, kafka_of
from headrace.pools import pools
from headrace.profiles import current
from headrace.profiling import WIDTH, keeping, recall, run
from headrace.settings import Loaded
from registry import manifest, topic
from registry.catalog import Catalog
from registry.predict_errors import Row, left_out, table
from registry.records import Profile
from streams.settings import KafkaSettings

FAILED, STOPPED = 1, 130
SECONDS, EACH_S = 600.0, 4.0


def profile(
    variants: Annotated[list[str] | None, typer.Argument(help="Names or globs.", show_default="all")] = None,
    config: Config = None,
    pairs: Set = None,
    level: Level = "warning",
    check: Check = False,
    seconds: Annotated[float, typer.Option(min=0.0, max=86_400, help="For all; what has no time is left.")] = SECONDS,
    each: Annotated[float, typer.Option(min=0.1, max=3_600, help="Seconds of measuring for one variant.")] = EACH_S,
    whole: Annotated[bool, typer.Option("--all", help="Measure every size; else half, and predict the rest.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was profiled here before.")] = False,
    cores: Annotated[int | None, typer.Option(min=1, show_default="all", help="To keep busy at once.")] = None,
    pool: Annotated[str | None, typer.Option(help="That consists of machines like this one.")] = None,
    models: Annotated[
        Path | None, typer.Option(file_okay=False, exists=True, help="A folder of manifests instead of the registry.")
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Measure nothing; show how wrong predictions are.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, the rest on stderr.")] = False,
) -> None:
    """Profile the registered variants on this machine, and publish each profile as soon as it is there.

    Stopped or out of time, it goes on where it was when called again. With --models no Kafka is needed: profiles are
    kept in the user's cache, from which `headrace up` publishes them.
    """
    loaded = configure(config, pairs, level, executor={"pool": pool})
    own, cores = loaded.settings.executor, cores or usable_cores()
    kafka = None if models is not None else kafka_of(loaded)
    if check:
        typer.echo(f"profile: settings and imports are in order; {machine_kind()}, {cores} cores for pool {own.pool}")
        return
    claim(own.hardware, own.device)
    catalog = _catalog(loaded, models, kafka)
    todo = plan(
        catalog, pool=own.pool, hardware=own.hardware, cores=cores, machine=machine_kind(), current=current,
        globs=variants or ("*",), again=again,
    )  # fmt: skip
    if errors:
        known = [known_of(catalog.variants[p.variant], p.points) for p in todo.held]
        rows = tuple(table(left_out(known)))
        _tell(
            Done(profiles=todo.held, refused={}, left=(), errors=rows, seconds=0.0), catalog, json=json, all_rows=True
        )
        return

    try:
        done = run(
            todo, catalog, keeping(catalog, kafka), pool=own.pool, cores=cores, seconds=seconds, each_s=each,
            whole=whole,
        )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo("stopped; what was measured is kept, and the next call goes on from there", err=True)
        raise typer.Exit(STOPPED) from None
    _tell(done, catalog, json=json, all_rows=False)
    raise typer.Exit(FAILED if done.refused else 0)


def _catalog(loaded: Loaded, models: Path | None, kafka: KafkaSettings | None) -> Catalog:
    """What is registered, with the profiles that this user measured on this machine before.

    Raises: BadManifest, Unreachable.
    """
    if models is None:
        assert kafka is not None
        catalog = topic.read(kafka)
    else:
        catalog = Catalog()
        for record in (*pools(loaded.settings.kafka), *manifest.read(models)):
            catalog.add(record)
    recall(catalog, kafka)
    return catalog


def _tell(done: Done, catalog: Catalog, *, json: bool, all_rows: bool) -> None:
    if json:
        typer.echo(msgspec.json.encode({"machine": machine_kind(), **msgspec.to_builtins(done)}).decode())
        return
    console = Console(width=None if Console().is_terminal else WIDTH)
    if done.profiles:
        console.print(profiles_table(done.profiles))
    if rows := [row for row in done.errors if row.chosen or all_rows]:
        console.print(errors_table(rows))
    for reason in done.refused.values():
        console.print(f"not profiled: {reason}", highlight=False)
    if done.left:
        console.print(f"no time for {len(done.left)}: call again, or raise --seconds", highlight=False)
    measured = sum(p.provenance == "measured" for profile in done.profiles for p in profile.points)
    points = sum(len(profile.points) for profile in done.profiles)
    console.print(
        f"{len(done.profiles)} of {len(catalog.variants)} variants profiled in {done.seconds:.0f} s "
        f"on {machine_kind()}: {measured} points measured, {points - measured} predicted",
        highlight=False,
    )


def profiles_table(profiles: Sequence[Profile]) -> Table:
    made = Table(title="profiles, every lane busy; (predicted)")
    for name in ("variant", "lanes", "p50 ms by batch", "p99 ms", "best q/s", "MB", "load ms, cold", "others"):
        made.add_column(name, justify="left" if name == "variant" else "right")
    for profile in profiles:
        ends = [profile.points[0], profile.points[-1]]
        made.add_row(
            profile.variant, str(profile.lanes),
            "  ".join(f"{p.batch}: {_ms(p.p50_us, p.provenance == 'predicted')}" for p in ends),
            "  ".join(_ms(p.p99_safe_us, p.provenance == "predicted") for p in ends),
            f"{max(p.throughput_qps for p in profile.points):,.0f}", f"{profile.memory_bytes / 1e6:.0f}",
            f"{profile.load_us / 1e3:.0f}, {profile.load_cold_us / 1e3:.0f}", f"{profile.disturbed:.0%}",
        )  # fmt: skip
    return made


def errors_table(rows: Sequence[Row]) -> Table:
    made = Table(title="errors of points left out and predicted from the others; * is in use")
    for name in ("family", "base", "trust", "position", "points", "p50 median", "p50 p90", "p99 margin"):
        made.add_column(name, justify="left" if name in ("family", "base") else "right")
    for row in rows:
        made.add_row(
            row.family + (" *" if row.chosen else ""), row.method.base, f"{row.method.trust:g}",
            "between" if row.inside else "beyond", str(row.points), f"{row.p50_median:.1%}", f"{row.p50_p90:.1%}",
            f"{row.p99_under_p90:.1%}",
        )  # fmt: skip
    return made


def _ms(us: int, guessed: bool) -> str:
    return f"({us / 1e3:.2f})" if guessed else f"{us / 1e3:.2f}"
