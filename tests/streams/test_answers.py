"""Answers as records: what goes out in each style can be read back, by us and by others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.answers import emulated, error_value, headers_of, outcome_of, read_answer, read_error, refusal
from streams.contract import ANSWER_HEADERS, OUTCOMES, Outcome, Style, TargetKind
from streams.errors import DeadlinePassed, HeadraceError, ModelFailed, NoExecutor, UnknownTarget, WouldBeLate
from streams.query import Malformed, Query, Requirements
from streams.records import Answer, Dispatch

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
ANSWERS = st.builds(
    Answer,
    query_id=TEXT,
    outcome=st.sampled_from(Outcome),
    value=st.binary(max_size=50),
    reply_topic=st.just("results"),
    correlation=st.none() | st.binary(max_size=20),
    style=st.sampled_from(Style),
    traceparent=st.none() | TEXT,
    tracestate=st.none() | TEXT,
    claim=st.none() | TEXT,
    code=st.none() | TEXT,
    variant=st.none() | TEXT,
    accuracy=st.none() | st.integers(0, 1_000).map(lambda n: n / 1_000),
    attempt=st.integers(1, 99),
    latency_us=st.integers(0, 10**9),
    queue_us=st.integers(0, 10**9),
    batch=st.integers(1, 512),
    cost_usd=st.integers(0, 999).map(lambda n: n / 1e6),
    missed=st.none() | TEXT,
    duplicate=st.booleans(),
)
ANSWERS = ANSWERS | ANSWERS.map(emulated)


def sent(answer: Answer) -> list[tuple[str, bytes | None]]:
    """The headers as a consumer sees them: bytes."""
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in headers_of(answer)]


@given(ANSWERS)
def test_answer_of_each_style_is_read_back_whole(answer: Answer) -> None:
    """Nothing is lost on the wire but the style itself and the partition, which the record has."""
    got = read_answer(sent(answer), answer.value, topic="results")

    assert msgspec.structs.replace(got, style=answer.style) == answer


@given(ANSWERS)
def test_answer_headers_are_of_the_contract(answer: Answer) -> None:
    """No header goes out that the documented table does not name."""
    known = {name for row in ANSWER_HEADERS for name in (row.name, row.cloudevents, row.spring)}
    known |= {"ce_specversion", "ce_id", "ce_type", "ce_source"}

    assert {name for name, _ in headers_of(answer)} <= known


def test_cloudevents_answer_is_a_valid_event() -> None:
    """Required attributes, extension names of letters and digits, and a copy is another event."""
    answer = Answer(query_id="q", outcome=Outcome.OK, value=b"{}", reply_topic="r", style=Style.CLOUDEVENTS, batch=2)
    headers = dict(headers_of(answer))
    copy = dict(headers_of(msgspec.structs.replace(answer, duplicate=True)))

    assert (headers["ce_specversion"], headers["ce_type"], headers["ce_source"]) == (
        "1.0", "headrace.answer.v1", "/headrace",
    )  # fmt: skip
    assert all(name[3:].isalnum() and len(name[3:]) <= 20 for name in headers if name.startswith("ce_"))
    assert headers["ce_outcome"] == "ok"
    assert (headers["ce_id"], copy["ce_id"], copy["ce_duplicate"]) == ("q/1", "q/1/copy", "true")


@pytest.mark.parametrize(
    ("style", "name"),
    [
        (Style.PLAIN, "correlation-id"),
        (Style.CLOUDEVENTS, "ce_correlationid"),
        (Style.SPRING, "kafka_correlationId"),
    ],
)
def test_correlation_goes_back_under_the_name_that_it_came_with(style: Style, name: str) -> None:
    """Unchanged bytes, also if they are no text; an empty one is not the same as none."""
    for raw in (b"\x00\xff\x80", b""):
        answer = Answer(query_id="q", outcome=Outcome.OK, value=b"", reply_topic="r", style=style, correlation=raw)

        assert [header for header in headers_of(answer) if "correlation" in header[0].lower()] == [(name, raw)]


def test_outcome_of_each_code() -> None:
    """Time expires, the query's own faults and a full house reject, ours fail."""
    assert outcome_of(DeadlinePassed("")) is Outcome.EXPIRED
    assert outcome_of(WouldBeLate("")) is Outcome.EXPIRED
    assert outcome_of(UnknownTarget("")) is Outcome.REJECTED
    assert outcome_of(NoExecutor("")) is Outcome.REJECTED
    assert outcome_of(ModelFailed("")) is Outcome.FAILED
    assert {outcome for outcome, _ in OUTCOMES} == set(Outcome)


def asked(**more: Any) -> dict[str, Any]:
    return {"query_id": "q", "arrived_us": 1_000, "reply_partition": 3, "correlation": b"c", "style": Style.SPRING,
            "traceparent": "t", "tracestate": "s", "attempt": 2, "marked": True, **more}  # fmt: skip


def test_refusal_carries_identity_and_mark_of_what_it_answers() -> None:
    """A query, a malformed one and a dispatched one are refused alike; the dispatched names its variant."""
    error = UnknownTarget("no 'x'")
    requirements = Requirements(kind=TargetKind.TASK, target="x")
    refused = [
        refusal(query, error, reply_topic="r", now_us=3_500, duplicate=False)
        for query in (
            Query(**asked(id_given=True, requirements=requirements, deadline_us=9)),
            Malformed(**asked(error=error)),
            Dispatch(**asked(variant="v", deadline_us=9, reply_topic="r")),
        )
    ]
    expected = Answer(
        query_id="q", outcome=Outcome.REJECTED, value=error_value(error), reply_topic="r", reply_partition=3,
        correlation=b"c", style=Style.SPRING, traceparent="t", tracestate="s", code="unknown_target", attempt=2,
        latency_us=2_500, duplicate=True,
    )  # fmt: skip

    assert refused == [expected, expected, msgspec.structs.replace(expected, variant="v")]


def test_error_value_reads_back() -> None:
    """Code, message and whether to try again stand in the value as well as in the headers."""
    body = read_error(error_value(NoExecutor("none of pool 'cpu'")))

    assert (body.code, body.message, body.retriable) == ("no_executor", "none of pool 'cpu'", True)


def test_latency_of_a_clock_behind_is_zero() -> None:
    """Clocks of hosts differ; a negative latency would be nonsense."""
    late = Malformed(**asked(error=UnknownTarget("")))

    assert refusal(late, HeadraceError(), reply_topic="r", now_us=0, duplicate=False).latency_us == 0


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("query-id", b"q")],
        [("query-id", b"q"), ("outcome", b"fine")],
        [("query-id", b"\xff"), ("outcome", b"ok")],
        [("query-id", b"q"), ("outcome", b"ok"), ("batch", b"many")],
        [("query-id", b"q"), ("outcome", None)],
    ],
)
def test_read_answer_of_something_else_raises_value_error(headers: list[tuple[str, bytes | None]]) -> None:
    """A reply topic may hold anything; its reader must be able to go on."""
    with pytest.raises(ValueError, match=r"."):
        read_answer(headers, b"", topic="results")
