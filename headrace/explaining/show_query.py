"""A query explained, as text and a table for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.explaining.query import CHOSEN, HOW, QueryExplained
from streams.clock import NEVER, to_ms
from streams.contract import Outcome
from streams.decisions import Decision
from streams.records import Answer
from streams.reply import Reply

WAYS = {
    "joined": "it joined the block that was open there",
    "opened": "it opened a block there",
    "spread": "its turn, by round robin or by chance, or a lane that is otherwise spared",
    "least": "late by prediction but not surely, so it went where it would finish first",
    "degraded": "on-miss: degrade; nothing that keeps the accuracy floor was in time",
    "late": "on-miss: late; nothing was in time",
    "offline": "priority 0: it filled a batch where nothing else waited",
    "repeated": "the same query id went there before",
    "tried": "to see whether a lane that was slow still is",
}


def rendered(found: QueryExplained, *, results: str) -> RenderableType:
    """Everything; `results` is the topic on which the answer was looked for."""
    return Group(*_parts(found, results))


def _parts(found: QueryExplained, results: str) -> Iterator[RenderableType]:
    decision = found.decision
    if decision is None:
        yield Text(f"query {found.query_id}", style="bold")
        yield Text(f"how it was routed was not kept: {HOW}")
    else:
        yield from _decision(decision)
        others = len(found.decisions) - 1
        if others:
            yield Text(f"{others} other look{'s' if others > 1 else ''} at it, in --json")
    yield Text()
    if not found.answers:
        yield Text(f"no answer on {results} yet")
        return
    yield from _outcome(found, found.answers[0])
    if len(found.answers) > 1:
        yield Text(f"{len(found.answers) - 1} more copies of the answer")


def _decision(decision: Decision) -> Iterator[RenderableType]:
    arrived = datetime.fromtimestamp(decision.arrived_us / 1e6, UTC)
    yield Text(f"query {decision.query_id}", style="bold")
    deadline = "no deadline"
    if decision.deadline_us < NEVER:
        deadline = f"deadline {_ms(decision.deadline_us - decision.arrived_us)} later"
    yield Text(f"arrived {arrived:%Y-%m-%d %H:%M:%S}.{arrived.microsecond // 1_000:03d} UTC, {deadline}")
    yield Text(f"class {decision.klass}")
    plan = f"following plan {decision.epoch}" if decision.epoch else "following no plan"
    attempt = f", attempt {decision.attempt}" if decision.attempt > 1 else ""
    yield Text(f"router {decision.router}, {_ms(decision.at_us - decision.arrived_us)} after, {plan}{attempt}")
    if decision.outcome == CHOSEN:
        yield Text(f"chosen: {decision.variant} on {decision.pool}, executor {decision.executor}: {_why(decision)}")
    else:
        yield Text(f"{decision.outcome}: {decision.why}")
    yield Text()
    if not decision.candidates:
        yield Text("no variant that is registered answers this")
        return
    table = Table(
        "candidate", "pool", "accuracy", "best executor", "done after", "why not",
        box=None, pad_edge=False, header_style="bold",
    )  # fmt: skip
    for each in decision.candidates:
        taken = (each.variant, each.pool) == (decision.variant, decision.pool)
        table.add_row(
            each.variant, each.pool, f"{each.accuracy:.4g}", each.executor or "-",
            "-" if each.finish_us is None else _ms(each.finish_us), each.no or ("chosen" if taken else ""),
            style="bold" if taken else "",
        )  # fmt: skip
    yield table


def _why(decision: Decision) -> str:
    way, _, missed = decision.why.partition(": ")
    return WAYS.get(way, way) + (f" (missed: {missed})" if missed else "")


def _outcome(found: QueryExplained, answer: Answer) -> Iterator[RenderableType]:
    parts = [f"{answer.outcome.value} after {_ms(answer.latency_us)}{_against(found.predicted_us, answer)}"]
    if answer.batch:
        parts.append(f"{_ms(answer.queue_us)} of it waiting for a lane, in a batch of {answer.batch}")
    if answer.attempt > 1:
        parts.append(f"attempt {answer.attempt}")
    if answer.duplicate:
        parts.append("marked duplicate")
    yield Text("outcome: ", style="bold") + Text("; ".join(parts), style="not bold")
    decision = found.decision
    if answer.outcome is Outcome.OK and answer.variant is not None:
        same = decision is not None and decision.variant == answer.variant
        accuracy = "" if answer.accuracy is None else f", accuracy {answer.accuracy:.4g}"
        yield Text(
            f"by {answer.variant}{accuracy}{'' if same or decision is None else ', not the variant chosen then'}"
        )
    error = Reply(answer).error if not answer.claim and answer.outcome is not Outcome.OK else None
    if error is not None:
        yield Text(f"{error.code}: {error.message}")
    if answer.missed is not None:
        yield Text(f"missed: {answer.missed}")


def _against(predicted_us: int | None, answer: Answer) -> str:
    if predicted_us is None or answer.outcome is not Outcome.OK:
        return ""
    off_us = answer.latency_us - predicted_us
    return f" (predicted {_ms(predicted_us)}, so {_ms(abs(off_us))} {'later' if off_us > 0 else 'earlier'})"


def _ms(value_us: int) -> str:
    return f"{to_ms(value_us):.1f} ms"
