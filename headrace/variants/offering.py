"""Generating the variants of several models within one budget of time, with a progress bar, for the registry."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from headrace.variants.generating import Generated
from headrace.variants.judging import Rules
from headrace.variants.menus import menu_of
from headrace.variants.registered import at_hand, stored
from registry.generate import Machine
from registry.records import Model, Record
from registry.store import ArtifactSettings


class Asked(NamedTuple):
    """What is wanted of every model. `labelled` and `pictured` are by task, and go before what a store has.

    `at_once` models are tried beside each other, which is for those that are not compiled: that takes times.
    Units: `budget_s` is for all models, an equal share of what is left for each.
    """

    out: Path
    labelled: Mapping[str, Path] = {}
    pictured: Mapping[str, Path] = {}
    rules: Rules | None = None
    machine: Machine | None = None
    ways: Sequence[str] = ("*",)
    budget_s: float = math.inf
    at_once: int = 1


def offered(
    models: Sequence[Model], asked: Asked, settings: ArtifactSettings, console: Console
) -> Iterator[tuple[Model, Generated]]:
    """What generation finds of each model, in their order. Whoever is interrupted waits for the children that run.

    Raises: ArtifactBroken, BadDataset, BadSettings, StoreUnreachable.
    """
    until, stopped, begun = time.monotonic() + asked.budget_s, threading.Event(), itertools.count()
    columns = (TextColumn("{task.description:<48}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task("variants", total=len(models))

        def one(model: Model) -> Generated:
            turns = math.ceil((len(models) - next(begun)) / asked.at_once)  # that share what is left of the time
            own, done = time.monotonic() + (until - time.monotonic()) / turns, 0.0

            def tell(name: str, share: float) -> None:
                nonlocal done
                bars.update(bar, advance=max(0.0, share - done), description=name)
                done = max(done, share)

            with at_hand(model, settings) as (here, kept):
                made = menu_of(
                    here, out=asked.out, validation=asked.labelled.get(model.task, kept),
                    samples=asked.pictured.get(model.task), rules=asked.rules, machine=asked.machine, ways=asked.ways,
                    left_s=lambda: 0.0 if stopped.is_set() else own - time.monotonic(), tell=tell,
                )  # fmt: skip
            tell(model.name, 1.0)
            return made

        pool = ThreadPoolExecutor(asked.at_once, thread_name_prefix="variants")
        try:
            yield from zip(models, pool.map(one, models), strict=True)
            bars.update(bar, completed=len(models), description="variants")
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)


def records_of(made: Generated, settings: ArtifactSettings | None) -> list[Record]:
    """To publish, with converted files in the store of these settings; None leaves them where they are.

    Raises: StoreUnreachable.
    """
    variants = made.variants if settings is None else stored(made.variants, settings)
    return [*variants, *made.refused]


def add_rows(table: Table, model: Model, made: Generated) -> None:
    """Every variant with its accuracy, or why there is none."""
    for variant in made.variants:
        accuracy = variant.accuracy or model.accuracy
        interval = "" if accuracy.low is None else f" ({accuracy.low:.4f} to {accuracy.high:.4f}, n {accuracy.n})"
        table.add_row(variant.name, f"{accuracy.value:.4f}", f"{accuracy.provenance}{interval}")
    for refusal in made.refused:
        table.add_row(refusal.variant, "refused", f"{refusal.stage}: {refusal.reason.splitlines()[0]}")
    for name in made.left:
        table.add_row(name, "left", "no time was left for it; the next run goes on with it")
