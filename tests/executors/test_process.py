"""A real executor process on a real Kafka: every way in which a dispatch can end, and how the process leaves."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from benchmarks.stubs import stub_task
from benchmarks.system import System
from registry.latency import Point
from registry.records import Model, Profile, Record, Step
from streams.answers import read_answer, read_error
from streams.clock import NEVER, wall_us
from streams.contract import INTERNAL, Outcome
from streams.payloads import encode_npy
from streams.records import Answer, Dispatch, Return, Telemetry, decode_return, decode_telemetry, encode
from streams.settings import KafkaSettings
from streams.watermark import end_offset

pytestmark = pytest.mark.kafka

UP_S = 60.0
END_S = 20.0  # for what must come; it takes milliseconds
BUSY_MS = 1_500  # how long one query of `slow` keeps the only core
VALUE_MAX = 20_000
WIDE = 2_000  # classes, whose names together are larger than VALUE_MAX


def records() -> list[Record]:
    """`echo` answers at once, `wide` with more than fits an answer, and `slow` takes far longer than its profile."""
    wide = [_widened(r) if isinstance(r, Model) else r for r in stub_task("wide", batch_max=4)]
    slow = [_promised(r) if isinstance(r, Profile) else r for r in stub_task("slow", fixed_ms=BUSY_MS, batch_max=1)]
    return [*stub_task("echo", fixed_ms=1.0, batch_max=8), *wide, *slow]


def _widened(model: Model) -> Model:
    labels = tuple(f"label-{i:06}" for i in range(WIDE))
    return msgspec.structs.replace(model, labels=labels, postprocess=Step(name="top-k", params={"k": WIDE}))


def _promised(profile: Profile) -> Profile:
    return msgspec.structs.replace(profile, points=(Point(batch=1, p50_us=1_000, p99_us=1_000),))


class Wire:
    """What a router would write, and everything that the executor writes, by topic, from now on."""

    TOPICS = ("results", "queries", "dead-letters", "fleet")

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        self.heard: dict[str, list[Message]] = {name: [] for name in self.TOPICS}
        self._names = {kafka.topic(name): name for name in self.TOPICS}
        self._producer = Producer(kafka.producer())
        self._consumer = Consumer(kafka.observer(**{"fetch.queue.backoff.ms": 1}))
        ends: list[TopicPartition] = []
        for topic in self._names:
            for number in self._consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                part = TopicPartition(topic, number)
                part.offset = end_offset(self._consumer, part.topic, part.partition, timeout_s=10)
                ends.append(part)
        self._consumer.assign(ends)

    def close(self) -> None:
        self._consumer.close()

    def dispatch(
        self, query_id: str, task: str = "echo", *, first: float = 0.0, key: str | None = "k", **fields: Any
    ) -> int:
        """Write one decision, and return when it arrived."""
        arrived_us = wall_us()
        decision: dict[str, Any] = {
            "variant": f"{task}-model/stub", "deadline_us": int(NEVER), "arrived_us": arrived_us,
            "reply_topic": self.kafka.topic("results"), "reply_partition": 0, "router": "test",
            "content_type": "application/x-npy",
        }  # fmt: skip
        sent = encode(Dispatch(query_id=query_id, **decision | fields))
        headers: list[tuple[str, str | bytes | None]] = [("task", task), (INTERNAL, sent)]
        self.write(item(first), headers, key=key)
        return arrived_us

    def write(self, value: bytes, headers: list[tuple[str, str | bytes | None]], *, key: str | None = "k") -> None:
        self._producer.produce(self.kafka.topic("work.cpu"), value, key=key, partition=0, headers=headers)
        self._producer.flush(END_S)

    def results(self) -> list[Answer]:
        """Every answer heard, oldest first."""
        return [
            read_answer(headers(message).items(), message.value(), topic=message.topic() or "")
            for message in self.heard["results"]
        ]

    def returns(self) -> list[tuple[Return, Message]]:
        """Every query handed back."""
        return [(decode_return(headers(message)[INTERNAL]), message) for message in self.heard["queries"]]

    def telemetry(self) -> list[Telemetry]:
        return [decode_telemetry(message.value() or b"") for message in self.heard["fleet"]]

    def answers(self, *ids: str) -> list[Answer]:
        """The answers of these queries, one each, in the order of the ids."""
        self.until(lambda: {*ids} <= {answer.query_id for answer in self.results()}, f"answers of {ids}")
        got = [answer for answer in self.results() if answer.query_id in ids]
        assert sorted(answer.query_id for answer in got) == sorted(ids)
        return sorted(got, key=lambda answer: ids.index(answer.query_id))

    def until(self, true: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + END_S
        while not true():
            assert time.monotonic() < end, f"{what} did not come; { ({k: len(v) for k, v in self.heard.items()}) }"
            message = self._consumer.poll(0.1)
            for one in [message, *self._consumer.consume(100, 0)] if message is not None else []:
                assert one.error() is None, one.error()
                self.heard[self._names[one.topic() or ""]].append(one)


def item(first: float) -> bytes:
    return encode_npy(np.array([first, 0, 0, 0], dtype=np.float32))


def headers(message: Message) -> dict[str, bytes]:
    pairs = cast("list[tuple[str, bytes]]", message.headers() or [])
    return dict(pairs)


def label(answer: Answer) -> str:
    return str(msgspec.json.decode(answer.value)["outputs"][0]["data"][0])


def code(answer: Answer) -> tuple[Outcome, str]:
    assert read_error(answer.value).code == answer.code
    return answer.outcome, answer.code or ""


@pytest.fixture(scope="module")
def system(bootstrap: str) -> Iterator[System]:
    kafka = KafkaSettings(
        bootstrap=bootstrap, prefix=f"test-process-{os.getpid()}.", slots=1, query_partitions=1, result_partitions=1,
        value_max_bytes=VALUE_MAX,
    )  # fmt: skip
    with System(kafka, records()) as running:
        running.start("executor-0", cores=1, grace_ms=10_000)
        running.wait_fleet(1, time.monotonic() + UP_S)
        yield running


@pytest.fixture
def wire(system: System) -> Iterator[Wire]:
    made = Wire(system.kafka)
    yield made
    made.close()


def test_process_ok_answer_has_every_header(wire: Wire) -> None:
    """Who asked finds its correlation, its trace, and what the answer cost; the value names the class."""
    fields: dict[str, Any] = {
        "correlation": b"\x00\xff",
        "traceparent": "00-1-2-01",
        "tracestate": "a=b",
        "missed": "accuracy",
        "attempt": 3,
    }
    arrived_us = wire.dispatch("all", first=1.0, **fields)
    (answer,) = wire.answers("all")
    got = headers(wire.heard["results"][-1])

    assert label(answer) == "b"
    assert wire.heard["results"][-1].key() == b"all"
    measured = {name: float(got.pop(name)) for name in ("latency-ms", "queue-ms", "cost")}
    assert got == {
        "query-id": b"all", "outcome": b"ok", "correlation-id": b"\x00\xff", "variant": b"echo-model/stub",
        "accuracy": b"0.9", "attempt": b"3", "batch": b"1", "missed": b"accuracy", "content-type": b"application/json",
        "traceparent": b"00-1-2-01", "tracestate": b"a=b",
    }  # fmt: skip
    assert 0 <= measured["queue-ms"] <= measured["latency-ms"] <= (wall_us() - arrived_us) / 1_000
    assert measured["cost"] > 0


def test_process_foreign_record_goes_to_dead_letters_and_the_stream_goes_on(wire: Wire) -> None:
    """No decision, and one that is none: both are put aside with their headers, and the next query is answered."""
    wire.write(b"what", [("task", "echo")])
    wire.write(b"ever", [("task", "echo"), (INTERNAL, b"{not json")])
    wire.dispatch("after-foreign")

    assert wire.answers("after-foreign")[0].outcome == Outcome.OK
    wire.until(lambda: len(wire.heard["dead-letters"]) == 2, "two dead letters")
    assert [message.value() for message in wire.heard["dead-letters"]] == [b"what", b"ever"]
    assert all(headers(message)["task"] == b"echo" for message in wire.heard["dead-letters"])


def test_process_model_that_raises_fails_only_its_query(wire: Wire) -> None:
    """They come while the core is busy, so they run as one batch; the neighbours of the bad one are answered."""
    wire.dispatch("busy", "slow")
    for query_id, first in (("left", 0.0), ("bad", -1.0), ("right", 1.0)):
        wire.dispatch(query_id, first=first)
    left, bad, right = wire.answers("left", "bad", "right")

    assert (label(left), label(right)) == ("a", "b")
    assert code(bad) == (Outcome.FAILED, "model_failed")


def test_process_spoiled_payload_is_rejected_in_words(wire: Wire) -> None:
    """An item of the wrong kind never reaches the model."""
    wire.dispatch("spoiled", content_type="image/png")
    (answer,) = wire.answers("spoiled")

    assert answer.outcome == Outcome.REJECTED
    assert read_error(answer.value).message


def test_process_result_too_large_is_answered_so(wire: Wire) -> None:
    """The answer that does not fit is replaced by one that says by how much."""
    wire.dispatch("oversize", "wide")
    (answer,) = wire.answers("oversize")

    assert code(answer) == (Outcome.FAILED, "result_too_large")
    assert str(VALUE_MAX) in read_error(answer.value).message


def test_process_query_expires_while_the_core_is_busy(wire: Wire) -> None:
    """The core is taken for 1,500 ms; a deadline of 200 ms is answered long before that, and not before it came."""
    wire.dispatch("holds-the-core", "slow")
    arrived_us = wall_us()
    wire.dispatch("expires", deadline_us=arrived_us + 200_000, arrived_us=arrived_us)
    expired, slow = wire.answers("expires", "holds-the-core")
    order = [answer.query_id for answer in wire.results()]

    assert code(expired) == (Outcome.EXPIRED, "deadline_passed")
    assert order == ["expires", "holds-the-core"]
    assert 200_000 <= expired.latency_us < 1_000_000
    assert slow.outcome == Outcome.OK


def test_process_variant_that_is_not_here_is_handed_back(wire: Wire) -> None:
    """With its value, its key, its headers, its deadline, and one attempt more; it was never started, so unmarked."""
    deadline_us = wall_us() + 60_000_000
    arrived_us = wire.dispatch("elsewhere", variant="elsewhere/stub", deadline_us=deadline_us, first=1.0)
    wire.until(lambda: bool(wire.returns()), "the query on queries")
    ((back, message),) = wire.returns()

    assert back == Return(query_id="elsewhere", deadline_us=deadline_us, arrived_us=arrived_us, attempt=2, marked=False)
    assert (message.key(), message.value()) == (b"k", item(1.0))
    assert headers(message)["task"] == b"echo"


def test_process_repeated_id_gets_the_kept_answer(wire: Wire) -> None:
    """The second asks with another value: it is not run, and the copy says that it is one."""
    wire.dispatch("again", first=1.0, keep=True)
    (first,) = wire.answers("again")
    wire.heard["results"].clear()
    wire.dispatch("again", first=0.0, keep=True, marked=True, correlation=b"second")
    (second,) = wire.answers("again")

    assert first.duplicate is False
    assert second == msgspec.structs.replace(first, duplicate=True, correlation=b"second", latency_us=second.latency_us)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"origin": 1}, {"origin": 2}),  # as the router says
        ({"key": "k1"}, {"key": "k2"}),  # as a router says that knows no origin
        ({"key": None}, {"key": None}),  # nothing tells them apart, so nothing makes them one
    ],
)
def test_process_equal_ids_of_other_partitions_are_strangers(
    wire: Wire, one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Two clients that count from 1 do not get each other's answers."""
    query_id = f"1-{one}"
    wire.dispatch(query_id, first=1.0, keep=True, **one)
    wire.answers(query_id)
    wire.heard["results"].clear()
    wire.dispatch(query_id, first=0.0, keep=True, marked=True, **other)

    assert label(wire.answers(query_id)[0]) == "a"


def test_process_repeated_id_that_is_not_kept_runs_and_is_marked(wire: Wire) -> None:
    """An unknown marked id may have been answered elsewhere, which the answer says."""
    wire.dispatch("unknown", first=1.0, keep=True, marked=True)
    (answer,) = wire.answers("unknown")

    assert (label(answer), answer.duplicate) == ("b", True)


def test_process_term_answers_what_runs_and_hands_back_the_rest(system: System, wire: Wire) -> None:
    """SIGTERM finds nine seconds of work: what runs is answered, what waits goes back unmarked, and the status is 0."""
    ids = {f"work-{n}" for n in range(6)}
    for query_id in sorted(ids):
        wire.dispatch(query_id, "slow")
    wire.until(lambda: any(t.lanes and _running(t) for t in wire.telemetry()), "telemetry of a running batch")
    status = system.term("executor-0", END_S)
    wire.until(lambda: len(wire.results()) + len(wire.returns()) >= len(ids), "the end of every query")
    wire.until(lambda: wire.telemetry()[-1].state == "gone", "the last word")
    answered = {answer.query_id: answer.outcome for answer in wire.results()}
    returned = {back.query_id: (back.attempt, back.marked) for back, _ in wire.returns()}

    assert status == 0, system.tails()
    assert answered.keys() | returned.keys() == ids
    assert len(wire.results()) + len(wire.returns()) == len(ids)
    assert set(answered.values()) == {Outcome.OK}
    assert set(returned.values()) == {(2, False)}


def test_process_term_of_an_idle_executor_hands_back_what_was_just_sent(system: System, wire: Wire) -> None:
    """Routers need a moment to hear of the drain: what they send meanwhile goes back rather than into a takeover."""
    system.start("executor-0")
    system.wait_fleet(1, time.monotonic() + UP_S)
    system.signal("executor-0", signal.SIGTERM)
    wire.until(lambda: any(t.state == "draining" for t in wire.telemetry()), "telemetry of the drain")
    count = 0
    while system.children["executor-0"].poll() is None:
        wire.dispatch(f"late-{count}")
        count += 1
    wire.until(lambda: bool(wire.returns()), "a query that was handed back")

    assert system.children["executor-0"].returncode == 0, system.tails()
    assert {(back.attempt, back.marked) for back, _ in wire.returns()} == {(2, False)}
    assert wire.results() == []


def _running(telemetry: Telemetry) -> int:
    return sum(lane.running for lane in telemetry.lanes)
