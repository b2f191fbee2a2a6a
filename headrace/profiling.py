"""Profiling what a catalogue holds, on this machine: for `headrace profile`, `register --generate` and the demo."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from executors.alone import alone
from executors.hardware import machine_kind, usable_cores
from executors.probing import claim
from executors.profiling import Order, Profiled
from executors.profiling_campaign import Campaign, Done
from executors.profiling_plan import Item, Plan, plan
from executors.profiling_process import profile_apart
from executors.settings import ExecutorSettings
from headrace.profiles import current, held, remember
from registry import topic
from registry.catalog import Catalog
from registry.records import Profile
from streams.settings import KafkaSettings

WIDTH = 140  # where no terminal says


def profile_registered(
    kafka: KafkaSettings,
    own: ExecutorSettings,
    globs: Iterable[str],
    *,
    seconds: float,
    each_s: float,
    console: Console,
) -> Done:
    """Profile registered variants and publish each profile; those that this user made here before are published first.

    Raises: Unreachable; BadSettings or NoDevice as an executor would.
    """
    claim(own.hardware, own.device)
    catalog = topic.read(kafka)
    recall(catalog, kafka)
    cores = usable_cores()
    todo = plan(
        catalog, pool=own.pool, hardware=own.hardware, cores=cores, machine=machine_kind(), current=current,
        globs=globs,
    )  # fmt: skip
    return run(
        todo, catalog, keeping(catalog, kafka), pool=own.pool, cores=cores, seconds=seconds, each_s=each_s,
        console=console,
    )  # fmt: skip


def recall(catalog: Catalog, kafka: KafkaSettings | None) -> None:
    """Add the profiles that this user measured here before to the catalogue, and to the topic if there is one.

    Raises: Unreachable.
    """
    own = []
    for profile in held(catalog):
        known = catalog.profiles.get((profile.variant, profile.pool))
        if known is None or (profile.source, known.source) == ("profiler", "executor"):
            catalog.add(profile)
            own.append(profile)
    if kafka is not None and own:
        topic.publish(kafka, own)


def keeping(catalog: Catalog, kafka: KafkaSettings | None) -> Callable[[Sequence[Profile]], None]:
    """What to do with each profile: publish it, and keep it in the user's cache."""

    def kept(profiles: Sequence[Profile]) -> None:
        if kafka is not None:
            topic.publish(kafka, profiles)
        for made in profiles:
            catalog.add(made)
        remember(catalog)

    return kept


def run(
    todo: Plan,
    catalog: Catalog,
    kept: Callable[[Sequence[Profile]], None],
    *,
    pool: str,
    cores: int,
    seconds: float,
    each_s: float,
    whole: bool = False,
    console: Console | None = None,
) -> Done:
    """A campaign with a progress bar, one variant at a time on this machine."""
    console = console or Console(stderr=True, width=None if Console(stderr=True).is_terminal else WIDTH)
    columns = (TextColumn("{task.description:<48}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("profiling", total=len(todo.due))

        def begun(item: Item) -> None:
            bars.update(bar, description=item.variant.name)

        def one(order: Order) -> Profiled:
            try:
                with alone():
                    return profile_apart(order)
            finally:
                bars.advance(bar)

        campaign = Campaign(
            todo, catalog.variants, pool=pool, cores=cores, kept=kept, begun=begun, profile_one=one
        )  # fmt: skip
        return campaign.run(budget_s=seconds, variant_s=each_s, whole=whole)
