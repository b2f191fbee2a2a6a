"""Reading a query's headers: bytes in, a `Query` or the reason why not out.

The requirements are parsed once per distinct set of header values and kept: queries of a class carry
the same bytes, so the hot path is one pass over the headers and one dictionary look-up.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence

import msgspec

from streams.clock import NEVER, from_ms
from streams.contract import (
    CONTENT_TYPES,
    CORRELATION_MAX_BYTES,
    INTERNAL,
    PRIORITY_MAX,
    QUERY_ID_MAX_BYTES,
    REQUIREMENT_MAX_BYTES,
    SLO_MS_MAX,
    AccuracyBound,
    OnMiss,
    Style,
    TargetKind,
)
from streams.errors import (
    BadHeader,
    BadReplyAddress,
    ClientFault,
    EmptyPayload,
    NoTarget,
    UnsupportedContentType,
)
from streams.records import Return, decode_return

Headers = Sequence[tuple[str, bytes | None]]

TRACE_STATE_MAX_BYTES = 512
ASKED_MAX = 32  # requirement headers of a class that is kept; there are ten, more only if repeated
PARTITION_MAX = 2**31 - 1  # Kafka's partitions are signed 32 bit
_TOPIC = re.compile(rb"[a-zA-Z0-9._-]{1,249}")  # what Kafka takes; librdkafka cannot even be asked for others


class Requirements(msgspec.Struct, frozen=True, kw_only=True):
    """What one class of queries asks; equal header values give the same object."""

    kind: TargetKind
    target: str
    slo_us: int | None = None
    accuracy_min: float = 0.0
    cost_max: float | None = None
    priority: int = 5
    on_miss: OnMiss = OnMiss.REJECT
    content_type: str | None = None
    accuracy_bound: AccuracyBound = AccuracyBound.VALUE


class Query(msgspec.Struct):
    """One readable query; `deadline_us` is NEVER for best effort until the task's default applies."""

    query_id: str
    id_given: bool
    requirements: Requirements
    arrived_us: int
    deadline_us: int
    reply_topic: str | None = None
    reply_partition: int = -1
    correlation: bytes | None = None
    style: Style = Style.PLAIN
    traceparent: str | None = None
    tracestate: str | None = None
    attempt: int = 1
    marked: bool = False
    explain: bool = False  # its decision was asked for
    explained: bool = False  # and told, at least while it waits


class Malformed(msgspec.Struct, kw_only=True):
    """A query that must be answered `rejected`: its address is known, its demand is not."""

    query_id: str
    error: ClientFault
    arrived_us: int
    reply_topic: str | None = None
    reply_partition: int = -1
    correlation: bytes | None = None
    style: Style = Style.PLAIN
    traceparent: str | None = None
    tracestate: str | None = None
    attempt: int = 1
    marked: bool = False


class Unaddressable(msgspec.Struct, kw_only=True):
    """Not even the reply address can be read: for dead-letters."""

    query_id: str
    error: ClientFault


(REQUIREMENT, ID, CE_ID, CE_SOURCE, REPLY_TOPIC, REPLY_PARTITION, SPRING_PARTITION, CORRELATION) = range(8)
(EXPIRES_AT, TRACE, TRACE_STATE, SPECVERSION, RETURN, EXPLAIN) = range(8, 14)
FIELDS = 14

_REQUIREMENT_NAMES = (
    "task", "model", "variant", "slo-ms", "accuracy-min", "accuracy-bound", "cost-max", "priority", "on-miss",
)  # fmt: skip
_FIELD: dict[str, tuple[int, Style | None]] = {
    **dict.fromkeys((*_REQUIREMENT_NAMES, "content-type"), (REQUIREMENT, None)),
    **{"ce_" + name.replace("-", ""): (REQUIREMENT, Style.CLOUDEVENTS) for name in _REQUIREMENT_NAMES},
    "query-id": (ID, None),
    "ce_id": (CE_ID, Style.CLOUDEVENTS),
    "ce_source": (CE_SOURCE, Style.CLOUDEVENTS),
    "ce_specversion": (SPECVERSION, Style.CLOUDEVENTS),
    "reply-topic": (REPLY_TOPIC, None),
    "ce_replytopic": (REPLY_TOPIC, Style.CLOUDEVENTS),
    "kafka_replyTopic": (REPLY_TOPIC, Style.SPRING),
    "reply-partition": (REPLY_PARTITION, None),
    "ce_replypartition": (REPLY_PARTITION, Style.CLOUDEVENTS),
    "kafka_replyPartition": (SPRING_PARTITION, Style.SPRING),
    "correlation-id": (CORRELATION, None),
    "ce_correlationid": (CORRELATION, Style.CLOUDEVENTS),
    "kafka_correlationId": (CORRELATION, Style.SPRING),
    "expires-at": (EXPIRES_AT, None),
    "ce_expiresat": (EXPIRES_AT, Style.CLOUDEVENTS),
    "traceparent": (TRACE, None),
    "tracestate": (TRACE_STATE, None),
    "explain": (EXPLAIN, None),
    "ce_explain": (EXPLAIN, Style.CLOUDEVENTS),
    INTERNAL: (RETURN, None),
}
_CE_PLAIN = {"ce_" + name.replace("-", ""): name for name in _REQUIREMENT_NAMES}


class QueryReader:
    """Reads queries; keeps at most `classes_max` parsed requirement sets (a hostile client can invent more)."""

    def __init__(self, *, classes_max: int = 4096) -> None:
        self._classes: dict[tuple[str | bytes | None, ...], Requirements] = {}
        self._classes_max = classes_max

    def read(
        self, headers: Headers, *, fallback_id: str, timestamp_ms: int, has_value: bool
    ) -> Query | Malformed | Unaddressable:
        """Parse one record's headers.

        Units:   `timestamp_ms` is the record's append time, ms since the epoch.
        Returns: `Query`; `Malformed` when an answer can be addressed; else `Unaddressable`.
        """
        asked: list[str | bytes | None] = []
        values: list[bytes | None] = [None] * FIELDS
        style: Style | None = None
        for name, value in headers:
            row = _FIELD.get(name)
            if row is None:
                continue
            field, of_style = row
            if of_style is not None and style is None:
                style = of_style
            if field == REQUIREMENT:
                asked.append(name)
                asked.append(value)
            else:
                values[field] = value if value is not None else b""

        query_id, error = fallback_id, None
        if values[ID] is not None or values[CE_ID] is not None:
            query_id, error = _identity(values, fallback_id)
        arrived_us = timestamp_ms * 1_000
        correlation = values[CORRELATION]
        trace = values[TRACE]
        traceparent = None
        if trace is not None and len(trace) <= REQUIREMENT_MAX_BYTES:
            traceparent = trace.decode("ascii", "replace")
        tracestate = None
        if (state := values[TRACE_STATE]) is not None and len(state) <= TRACE_STATE_MAX_BYTES:
            tracestate = state.decode("ascii", "replace")  # a longer one is dropped, as W3C's text allows
        try:
            reply_topic, reply_partition = _reply_address(values)
        except BadReplyAddress as bad:
            return Unaddressable(query_id=query_id, error=bad)

        requirements = self._requirements(tuple(asked))
        attempt, marked, deadline_us, explain = 1, False, int(NEVER), False
        try:
            if error is not None:
                raise error
            if isinstance(requirements, ClientFault):
                raise requirements
            if trace is not None and traceparent is None:
                raise BadHeader(f"traceparent has {len(trace)} bytes; at most {REQUIREMENT_MAX_BYTES} are allowed")
            if requirements.slo_us is not None:
                deadline_us = arrived_us + requirements.slo_us
            if (expires := values[EXPIRES_AT]) is not None:
                deadline_us = from_ms(_number("expires-at", expires, low=0.0, high=4e12))
            if (told := values[EXPLAIN]) is not None:
                explain = _flag("explain", told)
            if (handed := values[RETURN]) is not None:
                back = _return(handed)
                query_id, arrived_us, deadline_us = back.query_id, back.arrived_us, back.deadline_us
                attempt, marked = back.attempt, back.marked
            if not has_value:
                raise EmptyPayload("the record has no value (a tombstone); a query needs a payload")
        except ClientFault as bad:
            return Malformed(
                query_id=query_id, error=bad, arrived_us=arrived_us, reply_topic=reply_topic,
                reply_partition=reply_partition, correlation=correlation, style=style or Style.PLAIN,
                traceparent=traceparent, tracestate=tracestate,
            )  # fmt: skip
        assert isinstance(requirements, Requirements)
        return Query(  # positional: keywords cost a fifth of all this
            query_id, query_id is not fallback_id, requirements, arrived_us, deadline_us, reply_topic, reply_partition,
            correlation, style or Style.PLAIN, traceparent, tracestate, attempt, marked, explain,
        )  # fmt: skip

    def _requirements(self, asked: tuple[str | bytes | None, ...]) -> Requirements | ClientFault:
        known = self._classes.get(asked)
        if known is None:
            try:
                known = parse_requirements(list(zip(asked[::2], asked[1::2], strict=True)))  # type: ignore[arg-type]
            except ClientFault as bad:
                return bad  # not kept: it may be as large as a record, and grows a traceback each time it is raised
            if len(asked) <= 2 * ASKED_MAX:
                if len(self._classes) >= self._classes_max:
                    self._classes.clear()
                self._classes[asked] = known
        return known


def parse_requirements(headers: Headers) -> Requirements:
    """Parse the requirement headers alone; the last of a repeated header counts.

    Raises: ClientFault leaves with the offending value and the limit.
    """
    got: dict[str, bytes] = {}
    for name, value in headers:
        if value is not None and len(value) > REQUIREMENT_MAX_BYTES:
            raise BadHeader(f"{name} has {len(value)} bytes; at most {REQUIREMENT_MAX_BYTES} are allowed")
        got[_CE_PLAIN.get(name, name)] = value if value is not None else b""
    targets = [kind for kind in TargetKind if got.get(kind)]
    if len(targets) != 1:
        named = ", ".join(targets) or "none of them"
        raise NoTarget(f"exactly one of the headers task, model, variant is needed; this query has {named}")
    kind = targets[0]
    on_miss = _text("on-miss", got["on-miss"]) if "on-miss" in got else OnMiss.REJECT
    if on_miss not in set(OnMiss):
        raise BadHeader(f"on-miss {on_miss!r} is not one of {', '.join(OnMiss)}")
    bound = _text("accuracy-bound", got["accuracy-bound"]) if "accuracy-bound" in got else AccuracyBound.VALUE
    if bound not in set(AccuracyBound):
        raise BadHeader(f"accuracy-bound {bound!r} is not one of {', '.join(AccuracyBound)}")
    content_type = None
    if got.get("content-type"):
        content_type = _text("content-type", got["content-type"]).split(";", 1)[0].strip().lower()
        if content_type not in CONTENT_TYPES:
            raise UnsupportedContentType(f"content-type {content_type!r} is not one of {', '.join(CONTENT_TYPES)}")
    slo_ms = _optional(got, "slo-ms", lambda v: _number("slo-ms", v, low=0.0, high=SLO_MS_MAX, open_low=True))
    priority = _optional(got, "priority", lambda v: _number("priority", v, low=0, high=PRIORITY_MAX, whole=True))
    return Requirements(
        kind=kind,
        target=_text(kind, got[kind]),
        slo_us=None if slo_ms is None else from_ms(slo_ms),
        accuracy_min=_optional(got, "accuracy-min", lambda v: _number("accuracy-min", v, low=0.0, high=1.0)) or 0.0,
        cost_max=_optional(got, "cost-max", lambda v: _number("cost-max", v, low=0.0, high=1e6)),
        priority=5 if priority is None else int(priority),
        on_miss=OnMiss(on_miss),
        content_type=content_type,
        accuracy_bound=AccuracyBound(bound),
    )


def _identity(values: list[bytes | None], fallback_id: str) -> tuple[str, ClientFault | None]:
    raw = values[ID]
    if not raw and values[CE_ID]:
        raw = (values[CE_SOURCE] or b"") + b"#" + (values[CE_ID] or b"")
    if not raw:
        return fallback_id, None
    if len(raw) > QUERY_ID_MAX_BYTES:
        return fallback_id, BadHeader(f"query-id has {len(raw)} bytes; at most {QUERY_ID_MAX_BYTES} are allowed")
    try:
        return raw.decode(), None
    except UnicodeDecodeError:
        return fallback_id, BadHeader(f"query-id {raw[:32]!r} is not UTF-8 text")


def _reply_address(values: list[bytes | None]) -> tuple[str | None, int]:
    topic = None
    if raw := values[REPLY_TOPIC]:
        if not _TOPIC.fullmatch(raw):
            raise BadReplyAddress(
                f"reply-topic {raw[:32]!r} is not 1 to 249 letters, digits, dots, dashes, underscores"
            )
        topic = raw.decode()
    correlation = values[CORRELATION]
    if correlation is not None and len(correlation) > CORRELATION_MAX_BYTES:
        raise BadReplyAddress(
            f"correlation-id has {len(correlation)} bytes; at most {CORRELATION_MAX_BYTES} are echoed"
        )
    if (raw := values[REPLY_PARTITION]) is not None:
        try:
            partition = int(raw.replace(b"_", b"?"))
        except ValueError as bad:
            raise BadReplyAddress(f"reply-partition {raw[:32]!r} is not a whole number") from bad
    elif (raw := values[SPRING_PARTITION]) is not None:
        if len(raw) != 4:
            raise BadReplyAddress(f"kafka_replyPartition has {len(raw)} bytes; Spring sends 4, big endian")
        partition = int(struct.unpack(">i", raw)[0])
    else:
        return topic, -1
    if not 0 <= partition <= PARTITION_MAX:
        raise BadReplyAddress(f"reply-partition {str(partition)[:32]} is outside 0 to {PARTITION_MAX}")
    return topic, partition


def _return(raw: bytes) -> Return:
    try:
        return decode_return(raw)
    except (msgspec.MsgspecError, RecursionError) as bad:
        raise BadHeader(f"the header {INTERNAL!r} is reserved for Headrace's own processes") from bad


def _optional(got: dict[str, bytes], name: str, parse: Callable[[bytes], float]) -> float | None:
    return parse(got[name]) if name in got else None


def _text(name: str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as bad:
        raise BadHeader(f"{name} {raw[:32]!r} is not UTF-8 text") from bad


def _flag(name: str, raw: bytes) -> bool:
    if raw not in (b"true", b"false"):
        raise BadHeader(f"{name} {raw[:32]!r} is neither true nor false")
    return raw == b"true"


def _number(name: str, raw: bytes, *, low: float, high: float, open_low: bool = False, whole: bool = False) -> float:
    try:
        value = float(raw.replace(b"_", b"?"))  # Python reads 1_000; nobody else does
    except ValueError as bad:
        raise BadHeader(f"{name} {raw[:32]!r} is not a number") from bad
    if whole and not value.is_integer():
        raise BadHeader(f"{name} {raw[:32]!r} is not a whole number")
    if not (low <= value <= high) or (open_low and value == low):
        raise BadHeader(
            f"{name} {value:.15g} is outside {low:.15g} to {high:.15g}" + (" (0 excluded)" if open_low else "")
        )
    return value
