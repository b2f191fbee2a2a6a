"""The quick way to an answer's headers gives what the plain way does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from executors.okheaders import OkHeaders, common
from streams.answers import emulated, headers_of
from streams.clock import NEVER
from streams.contract import Outcome, Style
from streams.records import Answer, Dispatch

durations = st.integers(0, 10**9)
dispatches = st.builds(
    Dispatch,
    query_id=st.text(max_size=9),
    variant=st.just("v"),
    deadline_us=st.just(int(NEVER)),
    arrived_us=st.just(0),
    reply_topic=st.just("results"),
    correlation=st.none() | st.binary(max_size=9),
    style=st.sampled_from(Style),
    attempt=st.sampled_from([1, 1, 1, 2]),
    traceparent=st.sampled_from([None, None, "00-1-2-01"]),
    tracestate=st.sampled_from([None, None, None, "a=b"]),
    missed=st.sampled_from([None, None, "accuracy"]),
    late_ok=st.sampled_from([False, False, True]),
)


def plain(dispatch: Dispatch, *, latency_us: int, queue_us: int, size: int, cost_usd: float) -> Answer:
    return Answer(
        query_id=dispatch.query_id, outcome=Outcome.OK, value=b"", reply_topic="results", variant="v", accuracy=0.8125,
        correlation=dispatch.correlation, style=dispatch.style, latency_us=latency_us, queue_us=queue_us, batch=size,
        cost_usd=cost_usd,
    )  # fmt: skip


@given(
    st.lists(
        st.tuples(st.lists(st.tuples(dispatches, durations, durations)), st.integers(1, 99), st.floats(0, 1)),
        max_size=4,
    ),
    st.booleans(),
)
def test_okheaders_are_headers_of_the_answer(
    batches: list[tuple[list[tuple[Dispatch, int, int]], int, float]], emulates: bool
) -> None:
    """Of any common queries, in any order and in batches of any size: nothing of one answer shows in another."""
    made = OkHeaders(variant="v", accuracy=0.8125, emulated=emulates)

    for queries, size, cost_usd in batches:
        batch = made.batch(size, cost_usd)
        got = [
            (dispatch, latency_us, queue_us, made.of(dispatch, batch, latency_us=latency_us, queue_us=queue_us))
            for dispatch, latency_us, queue_us in queries
            if common(dispatch)
        ]
        for dispatch, latency_us, queue_us, headers in got:
            answer = plain(dispatch, latency_us=latency_us, queue_us=queue_us, size=size, cost_usd=cost_usd)
            assert headers == headers_of(emulated(answer) if emulates else answer)


@given(dispatches)
def test_okheaders_uncommon_is_whatever_has_a_header_of_its_own(dispatch: Dispatch) -> None:
    """A dispatch whose answer would have other headers than those that are filled in is left to the plain way."""
    other = (
        dispatch.attempt > 1
        or dispatch.style is Style.CLOUDEVENTS
        or dispatch.late_ok
        or dispatch.traceparent is not None
        or dispatch.tracestate is not None
        or dispatch.missed is not None
    )

    assert common(dispatch) == (not other)
