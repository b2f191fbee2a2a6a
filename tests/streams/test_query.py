"""Reading queries: every header set gives a Query, Malformed or Unaddressable, and every refusal says why."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.clock import NEVER
from streams.contract import CONTENT_TYPES, QUERY_HEADERS, AccuracyBound, OnMiss, Style, TargetKind
from streams.query import Malformed, Query, QueryReader, Requirements, Unaddressable
from streams.records import Return, encode

NAMES = sorted(
    {name for row in QUERY_HEADERS for name in (row.name, row.cloudevents, row.spring) if name}
    | {"ce_id", "ce_source", "ce_specversion", "headrace", "unknown", ""}
)
VALUES = [
    b"", b"0", b"1", b"-1", b"5", b"0.5", b"nan", b"inf", b"1e400", b"9" * 5_000, b"x", b"\xff", b"late", b"image/png",
    b"\x00\x00\x00\x01", b"\x80\x00\x00\x00", b"a\x00b", b"x" * 2_000, b"[" * 100_000, b'{"a":' + b"[" * 50_000,
    encode(Return(query_id="r", deadline_us=1, arrived_us=0)),
]  # fmt: skip


def read(
    *headers: tuple[str, bytes | None], has_value: bool = True, timestamp_ms: int = 1_000
) -> Query | Malformed | Unaddressable:
    return QueryReader().read(headers, fallback_id="q-0-7", timestamp_ms=timestamp_ms, has_value=has_value)


def query(*headers: tuple[str, bytes | None]) -> Query:
    got = read(*headers)
    assert isinstance(got, Query), got
    return got


TASK = ("task", b"t")


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.sampled_from(VALUES) | st.binary(max_size=40))),
    st.booleans(),
    st.integers(-1, 2**62),
)
@example([("task", b"t"), ("headrace", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")], True, 1)
@example([("task", b"t"), ("reply-partition", b"9" * 4_000)], True, 1)
@example([("task", b"t"), ("reply-topic", b"headrace.results\x00")], True, 1)
def test_read_anything_never_raises(
    headers: list[tuple[str, bytes | None]], has_value: bool, timestamp_ms: int
) -> None:
    """Whatever a stranger sends is one of three values, with short messages and an address that can be used."""
    got = read(*headers, has_value=has_value, timestamp_ms=timestamp_ms)

    if isinstance(got, Query | Malformed):
        assert -1 <= got.reply_partition < 2**31
        assert got.reply_topic is None or "\x00" not in got.reply_topic
        assert len(got.correlation or b"") <= 1_024
        assert len(got.query_id.encode()) <= 256
    if isinstance(got, Malformed | Unaddressable):
        assert 0 < len(got.error.message) < 1_000
    if isinstance(got, Query):
        assert has_value


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=12))
def test_read_twice_gives_the_same_with_and_without_the_kept_class(headers: list[tuple[str, bytes | None]]) -> None:
    """The cache of classes changes nothing but the time."""
    reader = QueryReader(classes_max=2)

    def once() -> object:
        got = reader.read(headers, fallback_id="f", timestamp_ms=5, has_value=True)
        return got if isinstance(got, Query) else (type(got), type(got.error), str(got.error))

    assert once() == once()


def test_read_equal_headers_share_one_requirements_object() -> None:
    """Queries of a class are recognised by identity, which is what makes them cheap."""
    reader = QueryReader()
    one, two = (
        reader.read([TASK, ("slo-ms", b"30"), ("query-id", name)], fallback_id="f", timestamp_ms=1, has_value=True)
        for name in (b"a", b"b")
    )

    assert isinstance(one, Query)
    assert isinstance(two, Query)
    assert one.requirements is two.requirements
    assert (one.query_id, two.query_id) == ("a", "b")


def test_read_malformed_again_and_again_keeps_nothing() -> None:
    """An error that were kept would grow by a traceback at each raise, and hold what a stranger sent."""
    reader = QueryReader()
    for _ in range(3):
        reader.read([("slo-ms", b"x")], fallback_id="f", timestamp_ms=1, has_value=True)
        reader.read([TASK] * 1_000, fallback_id="f", timestamp_ms=1, has_value=True)

    assert reader._classes == {}


def test_read_plain_query_all_headers() -> None:
    """Every plain header of the contract, read."""
    got = query(
        ("model", b"effnet"), ("slo-ms", b"30.5"), ("accuracy-min", b"0.9"), ("cost-max", b"2"), ("priority", b"9"),
        ("on-miss", b"degrade"), ("query-id", b"id"), ("reply-topic", b"replies.a"), ("reply-partition", b"3"),
        ("correlation-id", b"\x00\xff"), ("content-type", b"Image/JPEG; q=1"), ("traceparent", b"00-a-b-01"),
        ("tracestate", b"v=1"), ("accuracy-bound", b"lower"), ("explain", b"true"),
    )  # fmt: skip

    assert got == Query(
        query_id="id", id_given=True, arrived_us=1_000_000, deadline_us=1_030_500, reply_topic="replies.a",
        reply_partition=3, correlation=b"\x00\xff", style=Style.PLAIN, traceparent="00-a-b-01",
        tracestate="v=1", explain=True,
        requirements=Requirements(
            kind=TargetKind.MODEL, target="effnet", slo_us=30_500, accuracy_min=0.9, cost_max=2.0, priority=9,
            on_miss=OnMiss.DEGRADE, content_type="image/jpeg", accuracy_bound=AccuracyBound.LOWER,
        ),
    )  # fmt: skip


def test_read_least_query_has_the_defaults() -> None:
    """A task is enough: best effort, results, and the record's own place as identity."""
    assert query(TASK) == Query(
        query_id="q-0-7", id_given=False, arrived_us=1_000_000, deadline_us=NEVER,
        requirements=Requirements(kind=TargetKind.TASK, target="t"),
    )  # fmt: skip


def test_read_cloudevents_means_the_same() -> None:
    """Binary mode: attributes for headers, source and id together are the identity."""
    got = query(
        ("ce_specversion", b"1.0"), ("ce_id", b"7"), ("ce_source", b"/app"), ("ce_type", b"x"), ("ce_task", b"t"),
        ("ce_sloms", b"30"), ("ce_accuracymin", b"0.5"), ("ce_costmax", b"1"), ("ce_priority", b"0"),
        ("ce_onmiss", b"late"), ("ce_replytopic", b"r"), ("ce_replypartition", b"1"), ("ce_correlationid", b"c"),
        ("content-type", b"image/png"), ("ce_accuracybound", b"lower"), ("ce_explain", b"true"),
    )  # fmt: skip

    assert got == Query(
        query_id="/app#7", id_given=True, arrived_us=1_000_000, deadline_us=1_030_000, reply_topic="r",
        reply_partition=1, correlation=b"c", style=Style.CLOUDEVENTS, explain=True,
        requirements=Requirements(
            kind=TargetKind.TASK, target="t", slo_us=30_000, accuracy_min=0.5, cost_max=1.0, priority=0,
            on_miss=OnMiss.LATE, content_type="image/png", accuracy_bound=AccuracyBound.LOWER,
        ),
    )  # fmt: skip
    assert query(TASK, ("ce_expiresat", b"2000")).deadline_us == 2_000_000


def test_read_drops_a_tracestate_that_is_too_long() -> None:
    """W3C lets it be dropped above 512 characters; the query does not suffer."""
    got = query(TASK, ("tracestate", b"v=" + b"1" * 511), ("traceparent", b"00-a-b-01"))

    assert isinstance(got, Query)
    assert (got.tracestate, got.traceparent) == (None, "00-a-b-01")


@pytest.mark.parametrize(
    ("name", "value"), [("slo-ms", b"1_000"), ("priority", b"4.7"), ("priority", b"inf"), ("reply-partition", b"1_0")]
)
def test_numbers_are_read_as_everyone_else_writes_them(name: str, value: bytes) -> None:
    """Python's own spellings and halves of a priority are not taken for something else."""
    assert not isinstance(read(TASK, (name, value)), Query)


def test_read_spring_reply_headers_are_binary() -> None:
    """Spring sends the partition as four bytes and a binary UUID."""
    got = query(
        TASK,
        ("kafka_replyTopic", b"replies.spring"),
        ("kafka_replyPartition", struct.pack(">i", 5)),
        ("kafka_correlationId", bytes(range(16))),
    )

    assert (got.reply_topic, got.reply_partition, got.correlation, got.style) == (
        "replies.spring", 5, bytes(range(16)), Style.SPRING,
    )  # fmt: skip


def test_read_last_of_a_repeated_header_counts() -> None:
    """Also across names: CloudEvents and plain are the same header."""
    got = query(TASK, ("slo-ms", b"10"), ("slo-ms", b"20"), ("task", b"u"), ("ce_task", b"v"), ("slo-ms", b"30"))

    assert (got.requirements.target, got.requirements.slo_us) == ("v", 30_000)


def test_read_expires_at_counts_before_slo() -> None:
    """An absolute deadline is the caller's own clock, and wins."""
    assert query(TASK, ("slo-ms", b"10"), ("expires-at", b"5000")).deadline_us == 5_000_000


def test_read_empty_identity_counts_as_none() -> None:
    """An empty id would make all such queries one."""
    got = query(TASK, ("query-id", b""), ("ce_id", b""))

    assert (got.query_id, got.id_given) == ("q-0-7", False)


def test_read_handed_back_query_keeps_its_history() -> None:
    """An executor's return carries identity, deadline and attempt; it is marked."""
    back = Return(query_id="old", deadline_us=77, arrived_us=5, attempt=3)
    got = query(TASK, ("slo-ms", b"10"), ("headrace", encode(back)))

    assert (got.query_id, got.deadline_us, got.arrived_us, got.attempt, got.marked) == ("old", 77, 5, 3, True)


Case = tuple[dict[str, bytes], str, str]
REJECTED: list[Case] = [
    ({}, "no_target", "exactly one of the headers task, model, variant is needed; this query has none of them"),
    ({"task": b""}, "no_target", "this query has none of them"),
    ({"task": b"a", "model": b"b"}, "no_target", "this query has task, model"),
    ({"task": b"\xff"}, "bad_header", "task b'\\xff' is not UTF-8 text"),
    ({"task": b"x" * 257}, "bad_header", "task has 257 bytes; at most 256 are allowed"),
    ({"task": b"a", "slo-ms": b"soon"}, "bad_header", "slo-ms b'soon' is not a number"),
    ({"task": b"a", "slo-ms": b"0"}, "bad_header", "slo-ms 0 is outside 0 to 86400000 (0 excluded)"),
    ({"task": b"a", "slo-ms": b"nan"}, "bad_header", "slo-ms nan is outside 0 to 86400000 (0 excluded)"),
    ({"task": b"a", "slo-ms": b"86400001"}, "bad_header", "slo-ms 86400001 is outside 0 to 86400000 (0 excluded)"),
    ({"task": b"a", "expires-at": b"-5"}, "bad_header", "expires-at -5 is outside 0 to 4000000000000"),
    ({"task": b"a", "accuracy-min": b"1.5"}, "bad_header", "accuracy-min 1.5 is outside 0 to 1"),
    ({"task": b"a", "cost-max": b"-1"}, "bad_header", "cost-max -1 is outside 0 to 1000000"),
    ({"task": b"a", "priority": b"10"}, "bad_header", "priority 10 is outside 0 to 9"),
    (
        {"task": b"a", "accuracy-bound": b"upper"},
        "bad_header",
        "accuracy-bound 'upper' is not one of value, lower",
    ),
    ({"task": b"a", "on-miss": b"maybe"}, "bad_header", "on-miss 'maybe' is not one of reject, degrade, late"),
    ({"task": b"a", "explain": b"yes"}, "bad_header", "explain b'yes' is neither true nor false"),
    ({"task": b"a", "query-id": b"i" * 257}, "bad_header", "query-id has 257 bytes; at most 256 are allowed"),
    ({"task": b"a", "query-id": b"\xfe"}, "bad_header", "query-id b'\\xfe' is not UTF-8 text"),
    ({"task": b"a", "traceparent": b"0" * 300}, "bad_header", "traceparent has 300 bytes; at most 256 are allowed"),
    ({"task": b"a", "headrace": b"{}"}, "bad_header", "the header 'headrace' is reserved for Headrace's own processes"),
    (
        {"task": b"a", "content-type": b"text/html"},
        "unsupported_content_type",
        "content-type 'text/html' is not one of " + ", ".join(CONTENT_TYPES),
    ),
]


@pytest.mark.parametrize(("headers", "code", "message"), REJECTED)
def test_read_malformed_says_value_and_limit(headers: dict[str, bytes], code: str, message: str) -> None:
    """Each way to be malformed has its code and a sentence with the value and the limit; the address is kept."""
    got = read(*headers.items(), ("reply-partition", b"2"), ("correlation-id", b"c"))

    assert isinstance(got, Malformed)
    assert got.error.code == code
    assert message in got.error.message
    assert (got.reply_partition, got.correlation) == (2, b"c")
    assert not got.error.retryable


def test_read_tombstone_is_rejected() -> None:
    """A query without a value was perhaps meant as a deletion; there is nothing to run."""
    got = read(TASK, has_value=False)

    assert isinstance(got, Malformed)
    assert (got.error.code, got.query_id) == ("empty_payload", "q-0-7")


UNADDRESSABLE: list[tuple[str, Any, str]] = [
    ("reply-topic", b"\xff", "reply-topic b'\\xff' is not 1 to 249 letters"),
    ("reply-topic", b"headrace.results\x00", "is not 1 to 249 letters"),
    ("reply-topic", b"r" * 250, "is not 1 to 249 letters"),
    ("reply-partition", b"one", "reply-partition b'one' is not a whole number"),
    ("reply-partition", b"-1", "reply-partition -1 is outside 0 to 2147483647"),
    ("reply-partition", b"2147483648", "reply-partition 2147483648 is outside 0 to 2147483647"),
    ("kafka_replyPartition", b"3", "kafka_replyPartition has 1 bytes; Spring sends 4, big endian"),
    ("kafka_replyPartition", b"\xff\xff\xff\xff", "reply-partition -1 is outside 0 to 2147483647"),
    ("correlation-id", b"c" * 1_025, "correlation-id has 1025 bytes; at most 1024 are echoed"),
]


@pytest.mark.parametrize(("name", "value", "message"), UNADDRESSABLE)
def test_read_unreadable_address_is_for_dead_letters(name: str, value: bytes, message: str) -> None:
    """Where no answer can be addressed, the reason is all that can be given."""
    got = read(TASK, (name, value))

    assert isinstance(got, Unaddressable)
    assert got.error.code == "bad_reply_address"
    assert message in got.error.message
