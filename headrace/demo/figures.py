"""What the demo's book says, as plain values: the same for the tables and for `--json`. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from headrace.demo.ledger import PHASES, Entry
from streams.clock import to_ms
from streams.contract import Outcome
from streams.reply import Reply


class OutcomeRow(msgspec.Struct, frozen=True, kw_only=True):
    """How the queries of one task and phase ended; `codes` counts the reasons of those that are not ok."""

    phase: str
    task: str
    asked: int
    outcomes: dict[str, int]
    codes: dict[str, int]


class LatencyRow(msgspec.Struct, frozen=True, kw_only=True):
    """Ok answers only. Units: milliseconds, from the append of the query to its answer, as the SLO counts; `seen` is
    from sending to reading, in a process that shares the cores with all the rest. `in_time`: the share within the SLO.
    """

    phase: str
    task: str
    slo_ms: float | None
    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    seen_p50_ms: float
    seen_p99_ms: float
    in_time: float | None


class AccuracyRow(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for and what was served; `correct` is measured on labelled digits, among `labelled` of them."""

    task: str
    floor: float | None
    ok: int
    served_min: float
    served_mean: float
    below: int
    labelled: int
    correct: int


class VariantRow(msgspec.Struct, frozen=True, kw_only=True):
    """One variant's share of the work; `named` of its answers are to queries that asked for it by name."""

    variant: str
    accuracy: float
    answers: int
    named: int
    batch_mean: float
    queue_p50_ms: float


def outcomes(entries: Iterable[Entry]) -> list[OutcomeRow]:
    rows = []
    for (phase, task), group in _grouped(entries, lambda e: (e.phase, e.query.task)):
        answers = [entry.answer for entry in group if entry.answer is not None]
        rows.append(
            OutcomeRow(
                phase=phase,
                task=task,
                asked=len(group),
                outcomes=dict(Counter(answer.outcome.value for answer in answers)),
                codes=dict(Counter(answer.code for answer in answers if answer.code is not None)),
            )
        )
    return rows


def latencies(entries: Iterable[Entry]) -> list[LatencyRow]:
    rows = []
    for (phase, task, slo_ms), group in _grouped(_ok(entries), lambda e: (e.phase, e.query.task, e.query.slo_ms)):
        seen_ms = sorted(to_ms(entry.took_us) for entry in group)
        own_ms = sorted(to_ms(entry.answer.latency_us) for entry in group if entry.answer is not None)
        in_time = None if slo_ms is None else sum(ms <= slo_ms for ms in own_ms) / len(group)
        rows.append(
            LatencyRow(
                phase=phase, task=task, slo_ms=slo_ms, count=len(group), p50_ms=quantile(own_ms, 0.5),
                p90_ms=quantile(own_ms, 0.9), p99_ms=quantile(own_ms, 0.99), seen_p50_ms=quantile(seen_ms, 0.5),
                seen_p99_ms=quantile(seen_ms, 0.99), in_time=in_time,
            )
        )  # fmt: skip
    return rows


def accuracies(entries: Iterable[Entry]) -> list[AccuracyRow]:
    rows = []
    free = [entry for entry in _ok(entries) if entry.query.variant is None]  # where the choice was ours
    for (task, floor), group in _grouped(free, lambda e: (e.query.task, e.query.accuracy_min)):
        served = [e.answer.accuracy or 0.0 for e in group if e.answer is not None]
        labelled = [entry for entry in group if entry.query.truth is not None]
        rows.append(
            AccuracyRow(
                task=task,
                floor=floor,
                ok=len(group),
                served_min=min(served),
                served_mean=sum(served) / len(served),
                # An answer's header carries four digits; a floor may have more.
                below=sum(floor is not None and accuracy < floor - 1e-4 for accuracy in served),
                labelled=len(labelled),
                correct=sum(_label(entry) == entry.query.truth for entry in labelled),
            )
        )
    return rows


def variants(entries: Iterable[Entry]) -> list[VariantRow]:
    rows = []
    for (variant,), group in _grouped(_ok(entries), lambda e: (e.answer.variant if e.answer else None,)):
        answers = [entry.answer for entry in group if entry.answer is not None]
        rows.append(
            VariantRow(
                variant=variant or "?",
                accuracy=answers[0].accuracy or 0.0,
                answers=len(answers),
                named=sum(entry.query.variant is not None for entry in group),
                batch_mean=sum(answer.batch for answer in answers) / len(answers),
                queue_p50_ms=quantile(sorted(to_ms(answer.queue_us) for answer in answers), 0.5),
            )
        )
    return sorted(rows, key=lambda row: -row.answers)


def quantile(ordered: Sequence[float], share: float) -> float:
    """An observed value: the smallest that at least `share` of them do not exceed; NaN of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def _ok(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.answer is not None and entry.answer.outcome is Outcome.OK]


def _label(entry: Entry) -> str | None:
    assert entry.answer is not None
    labels = Reply(entry.answer).labels
    return labels[0] if labels else None


def _grouped(entries: Iterable[Entry], key: Callable[[Entry], tuple[Any, ...]]) -> list[tuple[Any, list[Entry]]]:
    """Groups in the order of their keys: phases as they come, None before a value."""
    groups: dict[tuple[Any, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[key(entry)].append(entry)
    return sorted(groups.items(), key=lambda item: [_order(part) for part in item[0]])


def _order(part: Any) -> tuple[int, Any]:
    return (PHASES.index(part), "") if part in PHASES else (0 if part is None else len(PHASES), part or "")
