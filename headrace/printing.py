"""Answers in words: one line for people, one JSON object for programs."""

from __future__ import annotations

from typing import Any

import msgspec

from streams.answers import Emulated
from streams.clock import to_ms
from streams.contract import Outcome
from streams.errors import BadRecord
from streams.records import Answer
from streams.reply import Reply

TOP = 3
ID_MAX = 28


def answer_line(answer: Answer) -> str:
    """Outcome, time, what was answered and by whom."""
    name = answer.query_id if len(answer.query_id) <= ID_MAX else "..." + answer.query_id[3 - ID_MAX :]
    parts = [f"{name:<{ID_MAX}}", f"{answer.outcome.value:<8}", f"{to_ms(answer.latency_us):9.1f} ms", _content(answer)]
    if answer.variant is not None and answer.outcome is Outcome.OK:
        accuracy = "" if answer.accuracy is None else f", accuracy {answer.accuracy:.1%}"
        parts.append(f"[{answer.variant}{accuracy}, batch {answer.batch}]")
    if answer.missed is not None:
        parts.append(f"missed: {answer.missed}")
    if answer.attempt > 1:
        parts.append(f"attempt {answer.attempt}")
    if answer.duplicate:
        parts.append("duplicate")
    if isinstance(answer, Emulated):
        parts.append("EMULATED")
    return "  ".join(parts)


def answer_json(answer: Answer) -> str:
    """Everything that the headers say, and the value as it is."""
    fields: dict[str, Any] = {
        "query_id": answer.query_id,
        "outcome": answer.outcome.value,
        "code": answer.code,
        "variant": answer.variant,
        "accuracy": answer.accuracy,
        "latency_ms": to_ms(answer.latency_us),
        "queue_ms": to_ms(answer.queue_us),
        "batch": answer.batch or None,
        "cost_usd": answer.cost_usd or None,
        "attempt": answer.attempt,
        "missed": answer.missed,
        "duplicate": answer.duplicate or None,
        "emulated": isinstance(answer, Emulated) or None,
        "claim": answer.claim,
        "value": msgspec.Raw(answer.value) if _is_json(answer.value) else answer.value.decode("utf-8", "replace"),
    }
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None}).decode()


def _content(answer: Answer) -> str:
    if answer.claim is not None and not answer.value:
        return f"in the store: {answer.claim}"
    reply = Reply(answer)
    try:
        if reply.error is not None:
            return f"{reply.error.code}: {reply.error.message}"
        labels = reply.top(TOP)
        if labels:
            return ", ".join(f"{label} {score:.1%}" for label, score in labels)
        return ", ".join(f"{name} {getattr(data, 'shape', len(data))}" for name, data in reply.outputs.items())
    except BadRecord as unreadable:
        return f"({unreadable.message})"


def _is_json(value: bytes) -> bool:
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except msgspec.MsgspecError:
        return False
    return True
