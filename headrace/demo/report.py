"""The demo's last word: figures as tables or as one JSON object, and whether the promise was kept."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from headrace.demo import figures
from headrace.demo.figures import AccuracyRow, LatencyRow, OutcomeRow, VariantRow
from headrace.demo.ledger import PHASES, Ledger
from headrace.demo.queries import NAMED_SHARE, UNMEETABLE, UNMEETABLE_SHARE
from streams.contract import Outcome

REFUSED = (
    f"Not all is meant to be ok: {UNMEETABLE_SHARE:.0%} ask for an accuracy of {UNMEETABLE:.2%}, which no model has, "
    "and the overload is\ntwice what the executors can do, half of it for the best accuracy or nothing."
)
LATENCY = (
    "From the append of the query to its answer, as an SLO counts; `seen` is from sending to reading in this process,\n"
    "which shares the cores with all the others."
)
NAMED = f"{NAMED_SHARE:.0%} of the steady load name a variant, each in turn; all others leave the choice to Headrace."
WHY = {
    "target": "as large as the SLO affords and the rate needs",
    "frontrun": "waiting longer would have cost a deadline",
    "full": "as large as can be",
    "drain": "nothing more would come",
    "eager": "nothing in it had a deadline",
    "retry": "part of a batch that failed",
}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the demo found; `kept` is the promise: an answer to each query, at most one unmarked."""

    kept: bool
    asked: int
    answered: int
    lost: int
    unmarked_twice: int
    copies: int
    restarts: dict[str, int]
    seconds: float
    behind_s: float
    outcomes: list[OutcomeRow]
    latencies: list[LatencyRow]
    accuracies: list[AccuracyRow]
    variants: list[VariantRow]
    batches: dict[str, int]


def report(
    ledger: Ledger, *, batches: dict[str, int], restarts: dict[str, int], seconds: float, behind_s: float
) -> Report:
    """Read the book."""
    totals, entries = ledger.totals(), ledger.entries()
    loaded = ledger.entries(PHASES[1:])  # while warming up, models run for the first time
    return Report(
        kept=totals.open == 0 and totals.doubled == 0,
        asked=totals.asked,
        answered=totals.answered,
        lost=totals.open,
        unmarked_twice=totals.doubled,
        copies=totals.copies,
        restarts={name: count for name, count in restarts.items() if count},
        seconds=round(seconds, 1),
        behind_s=round(behind_s, 3),
        outcomes=figures.outcomes(entries),
        latencies=figures.latencies(loaded),
        accuracies=figures.accuracies(loaded),
        variants=figures.variants(entries),
        batches=batches,
    )


def as_json(found: Report) -> str:
    return msgspec.json.encode(found).decode()


def show(found: Report, console: Console) -> None:
    """Print the tables, and the verdict last."""
    for table, note in (
        (_outcomes(found), REFUSED), (_latencies(found), LATENCY), (_accuracies(found), ""), (_variants(found), NAMED),
        (_batches(found), ""),
    ):  # fmt: skip
        console.print(table, *([f"[dim]{note}[/]"] if note else []), "", sep="\n", highlight=False)
    if found.restarts:
        told = ", ".join(f"{name} {count} time(s)" for name, count in found.restarts.items())
        console.print(f"Died and started again: {told}", highlight=False)
    copies = f"{found.copies} further copies came, each marked as a duplicate" if found.copies else "no copies came"
    if found.kept:
        console.print(
            f"[bold green]Every one of {found.asked} queries has its answer[/], at most one of them unmarked; "
            f"{copies}. {found.seconds:.0f} s.",
            highlight=False,
        )
    else:
        console.print(
            f"[bold red]The promise was broken[/]: {found.lost} of {found.asked} queries have no answer, "
            f"{found.unmarked_twice} have two unmarked ones.",
            highlight=False,
        )


def _outcomes(found: Report) -> Table:
    names = [outcome.value for outcome in Outcome]
    table = _table("Outcomes", "phase", "task", "asked", *names, "none", "why not ok")
    for row in found.outcomes:
        counts = [row.outcomes.get(name, 0) for name in names]
        why = ", ".join(f"{code} {count}" for code, count in sorted(row.codes.items(), key=lambda item: -item[1]))
        table.add_row(
            row.phase, row.task, str(row.asked), *(str(count or "") for count in counts),
            str(row.asked - sum(counts) or ""), why,
        )  # fmt: skip
    return table


def _latencies(found: Report) -> Table:
    columns = ("phase", "task", "SLO", "count", "p50", "p90", "p99", "in time", "seen p50", "seen p99")
    table = _table("Latency of ok answers, ms", *columns)
    for row in found.latencies:
        slo = "best effort" if row.slo_ms is None else f"{row.slo_ms:g}"
        in_time = "" if row.in_time is None else f"{row.in_time:.1%}"
        own = (f"{value:.1f}" for value in (row.p50_ms, row.p90_ms, row.p99_ms))
        seen = (f"{value:.1f}" for value in (row.seen_p50_ms, row.seen_p99_ms))
        table.add_row(row.phase, row.task, slo, str(row.count), *own, in_time, *seen)
    return table


def _accuracies(found: Report) -> Table:
    columns = ("task", "asked", "ok", "served, least", "mean", "below", "correct on labelled digits")
    table = _table("Accuracy asked and served", *columns)
    for row in found.accuracies:
        correct = f"{row.correct} of {row.labelled} = {row.correct / row.labelled:.1%}" if row.labelled else ""
        table.add_row(
            row.task, "any" if row.floor is None else f"{row.floor * 100:.4g}%", str(row.ok), f"{row.served_min:.1%}",
            f"{row.served_mean:.1%}", f"{row.below} (degraded)" if row.below else "", correct,
        )  # fmt: skip
    return table


def _variants(found: Report) -> Table:
    columns = ("variant", "accuracy", "answers", "by name", "mean batch", "queue p50, ms")
    table = _table("Variants used", *columns)
    for row in found.variants:
        queue = "" if math.isnan(row.queue_p50_ms) else f"{row.queue_p50_ms:.1f}"
        named = str(row.named or "")
        table.add_row(row.variant, f"{row.accuracy:.1%}", str(row.answers), named, f"{row.batch_mean:.1f}", queue)
    return table


def _batches(found: Report) -> Table:
    table = _table("Why batches closed", "reason", "batches", "")
    for reason, count in found.batches.items():
        table.add_row(reason, str(count), WHY.get(reason, ""))
    if not found.batches:
        table.add_row("none was counted", "", "")
    return table


def _table(title: str, *columns: str, **options: Any) -> Table:
    return Table(*columns, title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, **options)
