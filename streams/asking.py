"""Writing a query: what a caller asks, as headers and bytes that `read_query` (query.py) will accept.

The headers of a class are written and checked once and kept: callers ask the same thing again and again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypedDict

import msgspec
import numpy as np

from streams.contract import CONTENT_TYPES, INTERNAL, QUERY_HEADERS, SET_STORE, AccuracyBound, OnMiss
from streams.errors import BadHeader, BadPayload, EmptyPayload, UnsupportedContentType
from streams.openinference import Array, encode_v2_request, shorten
from streams.outbox import Headers
from streams.payloads import encode_npy
from streams.query import Query, QueryReader
from streams.settings import HEADERS_MAX_BYTES

Payload = bytes | bytearray | memoryview | Array | Mapping[str, Any]

CLASSES_MAX = 1024  # header sets kept; a caller with a different deadline each time makes a new one each time
KEY_MAX_BYTES = 4_096
HEADERS_LIMIT_BYTES = HEADERS_MAX_BYTES - KEY_MAX_BYTES - 1_024  # the rest: our identity, reply address and framing
MAGIC = (  # first bytes -> content type
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\x93NUMPY", "application/x-npy"),
)
_OURS = {name for row in QUERY_HEADERS for name in (row.name, row.cloudevents, row.spring) if name} | {INTERNAL}
_encode_json = msgspec.json.Encoder().encode


class Asked(TypedDict, total=False):
    """What may be asked with a payload; one of task, model and variant is required.

    Units: `slo_ms` after the record's append; `expires_at` ms since the epoch, or an aware datetime;
           `accuracy_min` 0 to 1, kept by the variant's value, or by its `accuracy_bound` "lower";
           `cost_max` USD per 1,000 queries; `priority` 0 to 9. `explain`: for `headrace explain query`.
    """

    task: str | None
    model: str | None
    variant: str | None
    slo_ms: float | None
    expires_at: float | datetime | None
    accuracy_min: float | None
    accuracy_bound: AccuracyBound | str | None
    cost_max: float | None
    priority: int | None
    on_miss: OnMiss | str | None
    query_id: str | None
    content_type: str | None
    key: str | bytes | None
    headers: Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]] | None
    traceparent: str | None
    tracestate: str | None
    explain: bool | None


class Ask(NamedTuple):
    """One query ready to send, but for its identity and reply address.

    `large`: the value has to go to the store, and its claim check into a header of the record.
    Units: `slo_us` and `expires_us` (since the epoch) are None without such a deadline; `patient` is set if
           an answer after the deadline is wanted as well.
    """

    value: bytes
    headers: Headers
    slo_us: int | None
    expires_us: int | None
    patient: bool
    large: bool = False


class _Class(NamedTuple):
    headers: Headers
    slo_us: int | None
    patient: bool


class AskWriter:
    """Turns what a caller asks into an `Ask`; safe to use from several threads."""

    def __init__(self, *, value_max_bytes: int, store_max_bytes: int | None = None) -> None:
        """`store_max_bytes` is what the store takes; None without one."""
        self._value_max_bytes = value_max_bytes
        self._store_max_bytes = store_max_bytes
        self._classes: dict[tuple[object, ...], _Class] = {}

    def write(self, payload: Payload, asked: Asked) -> Ask:
        """Check and encode one query.

        Raises: ClientFault leaves, the ones that the router would answer with, before anything is sent.
        """
        value, content_type = encode_payload(payload, asked.get("content_type"))
        large = len(value) > self._value_max_bytes
        if large and (self._store_max_bytes is None or len(value) > self._store_max_bytes):
            raise self._too_large(len(value))
        wanted = (
            asked.get("task"), asked.get("model"), asked.get("variant"), asked.get("slo_ms"), asked.get("accuracy_min"),
            asked.get("accuracy_bound"), asked.get("cost_max"), asked.get("priority"), asked.get("on_miss"),
            content_type,
        )  # fmt: skip
        known = self._classes.get(wanted)
        if known is None:
            known = self._write_class(wanted)
        expires_at, query_id = asked.get("expires_at"), asked.get("query_id")
        extra, trace, trace_state = asked.get("headers"), asked.get("traceparent"), asked.get("tracestate")
        explain = asked.get("explain")
        key = asked.get("key") or b""
        if len(key) > KEY_MAX_BYTES:
            raise BadHeader(f"the key has {len(key)} bytes; at most {KEY_MAX_BYTES} are sent")
        if all(rare is None for rare in (expires_at, query_id, extra, trace, trace_state, explain)):  # nearly always
            return Ask(value, known.headers, known.slo_us, None, known.patient, large)
        headers = known.headers + _own(expires_at, query_id, trace, trace_state, explain) + _foreign(extra)
        if (size := _size(headers)) > HEADERS_LIMIT_BYTES:
            raise BadHeader(f"the headers have {size} bytes; at most {HEADERS_LIMIT_BYTES} are sent")
        query = _checked(headers)
        expires_us = query.deadline_us if expires_at is not None else None
        return Ask(value, headers, known.slo_us, expires_us, known.patient, large)

    def _too_large(self, size_bytes: int) -> BadPayload:
        text = f"the payload has {size_bytes} bytes; at most {self._value_max_bytes} can be sent in a record"
        if self._store_max_bytes is None:
            return BadPayload(f"{text} (value_max_bytes in [kafka]); for more {SET_STORE}")
        return BadPayload(f"{text}, and {self._store_max_bytes} through the store (size_max_bytes in [blobs])")

    def _write_class(self, wanted: tuple[object, ...]) -> _Class:
        names = (
            "task", "model", "variant", "slo-ms", "accuracy-min", "accuracy-bound", "cost-max", "priority", "on-miss",
        )  # fmt: skip
        headers: Headers = [
            (name, str(value).encode()) for name, value in zip(names, wanted, strict=False) if value is not None
        ]
        headers.append(("content-type", str(wanted[-1]).encode()))
        requirements = _checked(headers).requirements
        if len(self._classes) >= CLASSES_MAX:
            self._classes.clear()
        known = _Class(headers, requirements.slo_us, requirements.on_miss is OnMiss.LATE)
        self._classes[wanted] = known
        return known


def encode_payload(payload: Payload, content_type: str | None) -> tuple[bytes, str]:
    """The value of a query and its content type.

    An array becomes npy, a dict of arrays or a whole v2 request becomes JSON; bytes that begin like JPEG, PNG
    or npy need no `content_type`.

    Raises: EmptyPayload, BadPayload, UnsupportedContentType.
    """
    if isinstance(payload, np.ndarray):
        return encode_npy(payload), _agreed("application/x-npy", content_type)
    if isinstance(payload, Mapping):
        return _encode_mapping(payload), _agreed("application/json", content_type)
    if not isinstance(payload, bytes | bytearray | memoryview):
        raise BadPayload(f"a payload is bytes, an array or a dict, not {type(payload).__name__}")
    value = bytes(payload)
    if not value:
        raise EmptyPayload("the payload has 0 bytes; a query needs at least 1")
    if content_type is None:
        content_type = next((kind for magic, kind in MAGIC if value.startswith(magic)), None)
        if content_type is None:
            raise UnsupportedContentType(
                f"bytes that begin {value[:8]!r} are no JPEG, PNG or npy; name their content_type, one of "
                + ", ".join(CONTENT_TYPES)
            )
    return value, content_type


def _encode_mapping(payload: Mapping[str, Any]) -> bytes:
    inputs = payload.get("inputs")
    if not (isinstance(inputs, list | tuple) and inputs and isinstance(inputs[0], Mapping)):
        try:
            return encode_v2_request({name: np.asarray(data) for name, data in payload.items()})
        except ValueError as ragged:
            raise BadPayload(f"not arrays by name: {ragged}") from ragged
    try:
        return _encode_json(payload)
    except TypeError as unknown:
        raise BadPayload(f"a v2 request as a dict holds plain values ({unknown}); or give {{name: array}}") from unknown


def _agreed(ours: str, given: str | None) -> str:
    if given is not None and given.split(";", 1)[0].strip().lower() != ours:
        raise UnsupportedContentType(f"content_type {shorten(given)}, but this payload is sent as {ours}")
    return ours


def _own(
    expires_at: float | datetime | None, query_id: str | None, traceparent: str | None, tracestate: str | None,
    explain: bool | None,
) -> Headers:  # fmt: skip
    headers: Headers = []
    if expires_at is not None:
        if isinstance(expires_at, datetime):
            if expires_at.tzinfo is None:
                raise BadHeader(f"expires_at {expires_at} has no time zone")
            expires_at = round(expires_at.timestamp() * 1_000)
        headers.append(("expires-at", str(expires_at).encode()))
    if query_id is not None:
        if not query_id:
            raise BadHeader("query_id is empty; leave it out to get one")
        headers.append(("query-id", query_id.encode()))
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
    if tracestate is not None:
        headers.append(("tracestate", tracestate.encode()))
    if explain is not None:
        headers.append(("explain", b"true" if explain else b"false"))
    return headers


def _foreign(extra: Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]] | None) -> Headers:
    if extra is None:
        return []
    headers: Headers = []
    for name, value in extra.items() if isinstance(extra, Mapping) else extra:
        if name in _OURS or name.startswith(("ce_", "kafka_")):
            raise BadHeader(f"header {shorten(name)} belongs to the contract; give it as an argument instead")
        headers.append((name, value.encode() if isinstance(value, str) else value))
    return headers


def _checked(headers: Headers) -> Query:
    # The router's own reader, so that what passes here passes there.
    sent = [(name, value.encode() if isinstance(value, str) else value) for name, value in headers]
    read = QueryReader().read(sent, fallback_id="", timestamp_ms=0, has_value=True)
    if not isinstance(read, Query):
        raise read.error
    return read


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value or b"") + 10 for name, value in headers)  # 10: two lengths as varints
