"""Answers as Kafka records: headers and value out of an `Answer`, and back into one."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from streams.clock import to_ms
from streams.contract import CLAIM, Outcome, Style
from streams.errors import ClientFault, HeadraceError
from streams.outbox import Headers
from streams.query import Malformed, Query
from streams.records import Answer, Dispatch

ANSWER_TYPE = "headrace.answer.v1"  # ce_type of an answer
_CORRELATION = {
    Style.PLAIN: "correlation-id",
    Style.CLOUDEVENTS: "ce_correlationid",
    Style.SPRING: "kafka_correlationId",
}
_OUTCOME_OF_CODE = {"deadline_passed": Outcome.EXPIRED, "would_be_late": Outcome.EXPIRED}


class Emulated(Answer, frozen=True, kw_only=True):
    """An answer that nobody computed: an emulated variant only took as long as a model would have."""


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The value of every answer that is not ok, under the key `error`."""

    code: str
    message: str
    retriable: bool = False


class _ErrorValue(msgspec.Struct, frozen=True):
    error: ErrorBody


_encode = msgspec.json.Encoder().encode
_decode_error = msgspec.json.Decoder(_ErrorValue).decode


def error_value(error: HeadraceError) -> bytes:
    return _encode(_ErrorValue(ErrorBody(code=error.code, message=error.message, retriable=error.retryable)))


def read_error(value: bytes) -> ErrorBody:
    """Raises: msgspec.MsgspecError on a value that is no error object."""
    return _decode_error(value).error


def outcome_of(error: HeadraceError) -> Outcome:
    """expired for what time did, rejected for what the query asked, failed for what broke on our side."""
    if error.code in _OUTCOME_OF_CODE:
        return _OUTCOME_OF_CODE[error.code]
    return Outcome.REJECTED if isinstance(error, ClientFault) or error.code in _REFUSED else Outcome.FAILED


_REFUSED = frozenset({"no_executor", "overloaded"})  # ours, but the query never ran


def refusal(
    query: Query | Malformed | Dispatch, error: HeadraceError, *, reply_topic: str, now_us: int, duplicate: bool
) -> Answer:
    """The answer of a query that did not run, or not to its end."""
    return Answer(
        query_id=query.query_id,
        outcome=outcome_of(error),
        value=error_value(error),
        reply_topic=reply_topic,
        reply_partition=query.reply_partition,
        correlation=query.correlation,
        style=query.style,
        traceparent=query.traceparent,
        tracestate=query.tracestate,
        code=error.code,
        variant=query.variant if isinstance(query, Dispatch) else None,
        attempt=query.attempt,
        latency_us=max(0, now_us - query.arrived_us),
        duplicate=duplicate or query.marked,
    )


def emulated(answer: Answer) -> Emulated:
    """The same answer, marked as of an emulated fleet."""
    return Emulated(**msgspec.structs.asdict(answer))


def headers_of(answer: Answer) -> Headers:
    """The headers in the order of contract.ANSWER_HEADERS; CloudEvents attributes only if the query came so."""
    headers: Headers = [("query-id", answer.query_id), ("outcome", answer.outcome.value)]
    if answer.correlation is not None:
        headers.append((_CORRELATION[answer.style], answer.correlation))
    if answer.code is not None:
        headers.append(("code", answer.code))
    if answer.variant is not None:
        headers.append(("variant", answer.variant))
    if answer.accuracy is not None:
        headers.append(("accuracy", f"{answer.accuracy:.4g}"))
    headers.append(("attempt", str(answer.attempt)))
    headers.append(("latency-ms", f"{to_ms(answer.latency_us):.3f}"))
    if answer.batch:
        headers.append(("queue-ms", f"{to_ms(answer.queue_us):.3f}"))
        headers.append(("batch", str(answer.batch)))
        headers.append(("cost", f"{answer.cost_usd:.3g}"))
    if answer.missed is not None:
        headers.append(("missed", answer.missed))
    if answer.duplicate:
        headers.append(("duplicate", "true"))
    if isinstance(answer, Emulated):
        headers.append(("emulated", "true"))
    if answer.claim is not None:
        headers.append((CLAIM, answer.claim))
    headers.append(("content-type", "application/json"))
    if answer.traceparent is not None:
        headers.append(("traceparent", answer.traceparent))
    if answer.tracestate is not None:
        headers.append(("tracestate", answer.tracestate))
    if answer.style is Style.CLOUDEVENTS:
        headers += _cloudevents(answer, headers)
    return headers


def _cloudevents(answer: Answer, plain: Headers) -> Headers:
    identity = f"{answer.query_id}/{answer.attempt}{'/copy' if answer.duplicate else ''}"
    own: Headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", identity),
        ("ce_type", ANSWER_TYPE),
        ("ce_source", "/headrace"),
    ]
    skip = {"content-type", "traceparent", "tracestate", "ce_correlationid"}
    return own + [("ce_" + name.replace("-", ""), value) for name, value in plain if name not in skip]


def read_answer(headers: Iterable[tuple[str, bytes | None]], value: bytes | None, *, topic: str) -> Answer:
    """The answer in one record of a reply topic.

    Raises: ValueError on headers that are no answer's.
    """
    got = {name: value or b"" for name, value in headers}
    kind = Emulated if got.get("emulated") == b"true" else Answer
    try:
        return kind(
            query_id=got["query-id"].decode(),
            outcome=Outcome(got["outcome"].decode()),
            value=value or b"",
            reply_topic=topic,
            correlation=next((got[name] for name in _CORRELATION.values() if name in got), None),
            code=_text(got, "code"),
            variant=_text(got, "variant"),
            accuracy=float(got["accuracy"]) if "accuracy" in got else None,
            attempt=int(got.get("attempt", b"1")),
            latency_us=round(float(got.get("latency-ms", b"0")) * 1_000),
            queue_us=round(float(got.get("queue-ms", b"0")) * 1_000),
            batch=int(got.get("batch", b"0")),
            cost_usd=float(got.get("cost", b"0")),
            missed=_text(got, "missed"),
            duplicate=got.get("duplicate") == b"true",
            claim=_text(got, CLAIM),
            traceparent=_text(got, "traceparent"),
            tracestate=_text(got, "tracestate"),
        )
    except KeyError as missing:
        raise ValueError(f"not an answer: no header {missing}") from missing


def _text(got: dict[str, bytes], name: str) -> str | None:
    return got[name].decode() if name in got else None
