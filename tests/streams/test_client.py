"""The client against real Kafka: every future ends, with its own answer, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait

import msgspec
import numpy as np
import pytest
from confluent_kafka import Message

from headrace import Client, KafkaSettings, Outcome
from streams.answers import error_value
from streams.contract import OnMiss
from streams.delivery import TopicMissing
from streams.errors import (
    AccuracyUnreachable,
    AnswerMissing,
    BadHeader,
    BadPayload,
    BadSettings,
    NoTarget,
    Overloaded,
    Unreachable,
)
from streams.query import Query
from streams.records import Answer
from tests.streams.echo import Echo, answer_to, fresh_kafka

pytestmark = pytest.mark.kafka
JPEG = b"\xff\xd8\xff" + bytes(500)


@pytest.fixture(scope="module")
def kafka(bootstrap: str) -> KafkaSettings:
    return fresh_kafka(bootstrap)


@pytest.fixture
def client(kafka: KafkaSettings) -> Iterator[Client]:
    with Client(kafka) as client:
        yield client


def silent(_query: Query, _message: Message) -> list[Answer]:
    return []


def until(condition: object, timeout_s: float = 10.0) -> None:
    assert callable(condition)
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_ask_array_gives_reply_with_outputs(kafka: KafkaSettings, client: Client) -> None:
    """What the answer says is at hand, decoded, and the query carries what was asked."""
    with Echo(kafka) as echo:
        reply = client.ask(
            np.zeros((2, 3), np.float32), task="digits", slo_ms=500, accuracy_min=0.5, cost_max=1, priority=7,
            on_miss="late", traceparent="00-1-2-03", tracestate="a=b", headers={"x-tenant": "7"}, key="k",
        )  # fmt: skip

    assert reply.ok
    assert reply.raise_for_outcome() is reply
    assert reply.top() == [("digits", 0.5)]
    assert reply.labels == ["digits"]
    assert set(reply.outputs) == {"label", "score"}
    assert (reply.variant, reply.accuracy, reply.batch, reply.attempt) == ("echo@cpu", 0.9, 1, 1)
    assert (reply.error, reply.missed, reply.duplicate) == (None, None, False)
    assert (reply.traceparent, reply.tracestate) == ("00-1-2-03", "a=b")
    query, message = echo.seen[0]
    assert query.requirements.content_type == "application/x-npy"
    assert (query.requirements.priority, query.requirements.on_miss) == (7, OnMiss.LATE)
    assert (query.requirements.slo_us, query.requirements.accuracy_min, query.requirements.cost_max) == (
        500_000, 0.5, 1.0,
    )  # fmt: skip
    assert query.query_id == reply.query_id
    assert message.key() == b"k"
    assert {("tracestate", b"a=b"), ("x-tenant", b"7")} <= set(message.headers() or [])


def test_submit_from_many_threads_every_reply_is_its_own(kafka: KafkaSettings, client: Client) -> None:
    """Eight threads, 4,000 queries at once: each future gets the answer to its own query."""
    wrong: list[str] = []

    def ask(thread: int) -> None:
        pendings = [client.submit(JPEG, task=f"t{n % 50}", query_id=f"{thread}-{n}") for n in range(500)]
        for n, (pending, reply) in enumerate(zip(pendings, client.results(pendings, 60), strict=True)):
            if reply.labels != [f"t{n % 50}"] or reply.query_id != pending.query_id != f"{thread}-{n}":
                wrong.append(f"{pending.query_id}: {reply}")

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    with Echo(kafka):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    assert wrong == []
    counts = client.counts()
    assert (counts.submitted, counts.answered, counts.copies, client.in_flight) == (4_000, 4_000, 0, 0)


def test_copies_are_dropped_and_counted_first_counts_also_if_marked(kafka: KafkaSettings, client: Client) -> None:
    """A marked copy that comes first is the answer; the unmarked one after it is dropped."""

    def thrice(query: Query, _message: Message) -> list[Answer]:
        return [answer_to(query, topic=kafka.topic("results"), duplicate=mark) for mark in (True, False, True)]

    with Echo(kafka, thrice):
        reply = client.ask(JPEG, task="t", timeout=30)
        until(lambda: client.counts().copies == 2)

    assert reply.duplicate


def test_two_clients_on_one_partition_get_their_own(bootstrap: str) -> None:
    """Partition and counter are the same; only the random identity tells the answers apart."""
    kafka = fresh_kafka(bootstrap, result_partitions=1)
    with Echo(kafka), Client(kafka) as one, Client(kafka) as two:
        pendings = [client.submit(JPEG, task=task) for _ in range(100) for client, task in ((one, "1"), (two, "2"))]
        replies = [pending.result(30) for pending in pendings]
        until(lambda: one.counts().foreign == two.counts().foreign == 100)

    assert [reply.labels for reply in replies] == [["1"], ["2"]] * 100
    assert one.counts().copies == two.counts().copies == 0


def test_cancel_drops_the_answer_and_wakes_waiters(kafka: KafkaSettings, client: Client) -> None:
    """The answer to a cancelled query is counted, not delivered; `wait` sees it as done."""
    go = threading.Event()

    def late(query: Query, _message: Message) -> list[Answer]:
        assert go.wait(30)
        return [answer_to(query, topic=kafka.topic("results"))]

    with Echo(kafka, late):
        pending, kept = client.submit(JPEG, task="t"), client.submit(JPEG, task="t")
        cancelled = pending.cancel()
        again = pending.cancel()
        go.set()
        kept.result(30)
        until(lambda: client.counts().dropped == 1)

    assert cancelled
    assert again
    assert not kept.cancel()
    assert wait([pending, kept], timeout=1).not_done == set()
    assert client.counts().cancelled == 1
    with pytest.raises(CancelledError):
        pending.result(0)


def test_silence_ends_in_answer_missing_and_a_late_answer_is_counted(kafka: KafkaSettings) -> None:
    """With a deadline: after it and the grace. With none, or on_miss late: after the longest wait."""
    go = threading.Event()

    def late(query: Query, _message: Message) -> list[Answer]:
        assert go.wait(30)
        return [answer_to(query, topic=kafka.topic("results"))]

    with Echo(kafka, late), Client(kafka, grace_s=0.2, wait_max_s=1.0) as client:
        began = time.monotonic()
        short, absolute = client.submit(JPEG, task="t", slo_ms=100), client.submit(JPEG, task="t", expires_at=1e12)
        patient, endless = client.submit(JPEG, task="t", slo_ms=100, on_miss="late"), client.submit(JPEG, task="t")
        with pytest.raises(AnswerMissing, match=short.query_id):
            short.result(30)
        with pytest.raises(AnswerMissing):
            absolute.result(30)
        assert not patient.done()
        assert not endless.done()
        with pytest.raises(AnswerMissing):
            patient.result(30)
        with pytest.raises(AnswerMissing):
            endless.result(30)
        waited_s = time.monotonic() - began
        go.set()
        until(lambda: client.counts().late == 4)

    assert waited_s >= 1.0
    assert client.counts().missing == 4


def test_failed_outcome_is_a_reply_and_raises_on_request(kafka: KafkaSettings, client: Client) -> None:
    """Rejected is an answer like any other; `raise_for_outcome` turns its code into the error of that code."""

    def refuse(query: Query, _message: Message) -> list[Answer]:
        error = AccuracyUnreachable("0.99 > 0.97, the best of digits")
        ok = answer_to(query, topic=kafka.topic("results"))
        value = error_value(error)
        return [msgspec.structs.replace(ok, outcome=Outcome.REJECTED, value=value, code=error.code)]

    with Echo(kafka, refuse):
        reply = client.ask(JPEG, task="digits", accuracy_min=0.99, timeout=30)

    assert not reply.ok
    assert reply.outcome is Outcome.REJECTED
    assert reply.error is not None
    assert (reply.error.code, reply.error.retriable, reply.outputs) == ("accuracy_unreachable", False, {})
    with pytest.raises(AccuracyUnreachable, match=r"0\.99 > 0\.97"):
        reply.raise_for_outcome()


def test_full_client_blocks_then_says_overloaded(kafka: KafkaSettings) -> None:
    """At the bound `submit` waits; it goes on when an answer makes room, and else raises."""
    with Client(kafka, in_flight_max=2, block_s=0.3, wait_max_s=30) as client:
        pendings = [client.submit(JPEG, task="t") for _ in range(2)]
        with pytest.raises(Overloaded, match="in_flight_max 2"):
            client.submit(JPEG, task="t", block=False)
        with pytest.raises(Overloaded):
            client.submit(JPEG, task="t")
        threading.Timer(0.1, pendings[0].cancel).start()
        third = client.submit(JPEG, task="t")

        assert client.in_flight == 2
        third.cancel()


def test_malformed_query_is_refused_before_it_is_sent(kafka: KafkaSettings, client: Client) -> None:
    """The router's own rules, its codes and its words, without the way there and back."""
    with pytest.raises(NoTarget):
        client.submit(JPEG)
    with pytest.raises(BadHeader, match=r"slo-ms 0 is outside 0 to 86400000"):
        client.submit(JPEG, task="t", slo_ms=0)
    with pytest.raises(BadPayload, match="1000001 bytes; at most 1000000"):
        client.submit(bytes(1_000_001), task="t", content_type="image/png")

    assert client.counts().submitted == 0


def test_oversize_for_the_broker_fails_the_future(bootstrap: str) -> None:
    """The client allows more than the topic does: the refusal comes back in the future."""
    kafka = fresh_kafka(bootstrap, value_max_bytes=10_000)
    with Client(kafka.model_copy(update={"value_max_bytes": 100_000})) as client:
        pending = client.submit(JPEG + bytes(90_000), task="t")
        with pytest.raises(BadPayload, match="larger than the broker takes"):
            pending.result(30)

    assert client.counts().undelivered == 1


def test_unreachable_cluster_is_named() -> None:
    """The address, how long it was tried, and what to do."""
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1 within 0\.5 s .*KAFKA_BOOTSTRAP_SERVERS"):
        Client(bootstrap="127.0.0.1:1", connect_timeout_s=0.5)


def test_missing_topics_say_what_to_run(bootstrap: str) -> None:
    """A cluster without the topics is a set-up step that was left out, not a failure."""
    with pytest.raises(TopicMissing, match=r"'nowhere\.queries' .*headrace topics create"):
        Client(KafkaSettings(bootstrap=bootstrap, prefix="nowhere."))


def test_bad_limits_and_properties_are_refused(kafka: KafkaSettings) -> None:
    """What can never work is said at once."""
    with pytest.raises(BadSettings, match="in_flight_max 0"):
        Client(kafka, in_flight_max=0)
    with pytest.raises(BadSettings, match=r"no\.such\.property"):
        Client(kafka.model_copy(update={"properties": {"no.such.property": "1"}}))


def test_close_delivers_queries_and_fails_what_waits(kafka: KafkaSettings) -> None:
    """Nobody waits for ever on a closed client, and what was submitted did go out."""
    with Echo(kafka, silent) as echo:
        with Client(kafka) as client:
            pending = client.submit(JPEG, task="t")
        until(lambda: len(echo.seen) == 1)

    with pytest.raises(AnswerMissing, match="closed"):
        pending.result(0)
    with pytest.raises(RuntimeError, match="closed"):
        client.submit(JPEG, task="t")
    client.close()


def test_as_completed_gives_answered_first(kafka: KafkaSettings, client: Client) -> None:
    """The future that has its reply comes before the one that waits."""

    def some(query: Query, _message: Message) -> list[Answer]:
        return [] if query.requirements.target == "never" else [answer_to(query, topic=kafka.topic("results"))]

    with Echo(kafka, some):
        never, soon = client.submit(JPEG, task="never"), client.submit(JPEG, task="soon")

        assert next(client.as_completed([never, soon], timeout=30)) is soon
        never.cancel()


def test_broken_answer_fails_its_future_alone(kafka: KafkaSettings, client: Client) -> None:
    """An answer of a newer version, say, is an error of that one query."""
    results = kafka.topic("results")
    with Echo(kafka, silent) as echo:
        pending, other = client.submit(JPEG, task="t"), client.submit(JPEG, task="t")
        until(lambda: len(echo.seen) == 2)
        (query, _), (second, _) = sorted(echo.seen, key=lambda seen: int(seen[0].query_id.rsplit("-", 1)[1]))
        assert query.correlation is not None
        echo.terminal._outbox.send(
            results, b"", partition=query.reply_partition, headers=[("correlation-id", query.correlation)]
        )
        echo.terminal.answer(answer_to(second, topic=results), lambda: None)

        assert other.result(30).ok
        with pytest.raises(Exception, match="cannot be read: not an answer: no header 'query-id'"):
            pending.result(30)

    assert client.counts().unreadable == 1
