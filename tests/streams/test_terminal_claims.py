"""Results too large for a record: the value goes to the store, and the answer out once it is there, in time or not."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.answers import read_error
from streams.blobs import BlobSettings, LocalStore, Store, digest_of
from streams.claims import Claims
from streams.clock import wall_us
from streams.contract import Outcome
from streams.errors import StoreUnreachable
from streams.outbox import Outbox
from streams.records import Answer
from streams.settings import KafkaSettings
from streams.terminal import Terminal
from tests.streams.echo import fresh_kafka, read_all
from tests.streams.test_claims import Gated
from tests.streams.test_terminal import OK, answers

pytestmark = pytest.mark.kafka
WAIT_S = 20.0
LARGE = bytes(30_000)


class Broken(LocalStore):
    def put(self, data: bytes) -> str:
        raise StoreUnreachable("s3://away refuses: SlowDown")


class Sender:
    """A Terminal as an executor has it: what the store's threads finished runs where `turn` is called."""

    def __init__(self, kafka: KafkaSettings, store: Store, **settings: Any) -> None:
        self.kafka = kafka
        self.inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.claims = Claims(
            store, BlobSettings(url="", **{"size_max_bytes": 50_000, **settings}), later=self.inbox.put
        )
        self.outbox = Outbox(kafka.producer())
        self.terminal = Terminal(self.outbox, kafka, self.claims)
        self.acked = threading.Event()

    def answer(self, answer: Answer, **more: Any) -> None:
        self.terminal.answer(
            msgspec.structs.replace(answer, reply_topic=self.kafka.topic("results")), self.acked.set, **more
        )

    def turn(self) -> None:
        self.inbox.get(timeout=WAIT_S)()

    def end(self) -> Answer:
        """The one answer, once it is acknowledged."""
        assert self.acked.wait(WAIT_S)
        [answer] = answers(self.kafka)
        return answer

    def close(self) -> None:
        self.claims.close(WAIT_S)
        self.outbox.close(5)


@pytest.fixture
def kafka(bootstrap: str) -> KafkaSettings:
    return fresh_kafka(bootstrap, value_max_bytes=20_000, result_partitions=1)


@pytest.fixture
def made(kafka: KafkaSettings) -> Iterator[Callable[..., Sender]]:
    senders: list[Sender] = []

    def make(store: Store, **settings: Any) -> Sender:
        senders.append(Sender(kafka, store, **settings))
        return senders[-1]

    yield make
    for sender in senders:
        sender.close()


def test_large_result_goes_to_the_store_and_its_claim_out(made: Callable[..., Sender], tmp_path: Path) -> None:
    """The outcome stays, the record is empty but not null, and whoever fetches has the value."""
    store = LocalStore(tmp_path)
    sender = made(store)
    sender.answer(msgspec.structs.replace(OK, value=LARGE, variant="v"))
    sender.turn()
    answer = sender.end()
    [message] = read_all(sender.kafka, "results")

    assert (answer.outcome, answer.code, answer.variant, answer.claim) == (Outcome.OK, None, "v", digest_of(LARGE))
    assert message.value() == b""
    assert store.get(str(answer.claim), size_max_bytes=50_000) == LARGE


def test_nothing_is_sent_before_the_store_has_the_value(made: Callable[..., Sender], tmp_path: Path) -> None:
    """Nor is the query finished; smaller answers do not wait behind it, and the wait is in the latency."""
    store = Gated(tmp_path)
    sender = made(store)
    sender.answer(msgspec.structs.replace(OK, value=LARGE))
    small = threading.Event()
    quick = msgspec.structs.replace(OK, query_id="quick", reply_topic=sender.kafka.topic("results"))
    sender.terminal.answer(quick, small.set)
    assert small.wait(WAIT_S)
    before = [answer.query_id for answer in answers(sender.kafka)]
    acked = sender.acked.is_set()
    store.gate.set()
    sender.turn()
    assert sender.acked.wait(WAIT_S)
    _, last = answers(sender.kafka)

    assert (before, acked) == (["quick"], False)
    assert last.claim == digest_of(LARGE)
    assert last.latency_us > OK.latency_us


def test_deadline_during_the_upload_is_answered_expired_once(made: Callable[..., Sender], tmp_path: Path) -> None:
    """At the deadline, not when the store is ready; what it says afterwards changes nothing."""
    store = Gated(tmp_path)
    sender = made(store)
    deadline_us = wall_us() + 1_000
    sender.answer(msgspec.structs.replace(OK, value=LARGE), deadline_us=deadline_us)
    sender.terminal.expire(now_us=deadline_us - 1)
    early = sender.acked.is_set() or len(sender.outbox)
    sender.terminal.expire(now_us=deadline_us)
    sender.terminal.expire(now_us=deadline_us)
    assert sender.acked.wait(WAIT_S)
    store.gate.set()
    sender.turn()
    answer = sender.end()

    assert not early
    assert (answer.outcome, answer.code, answer.claim) == (Outcome.EXPIRED, "deadline_passed", None)
    assert "30000 bytes went to the store" in read_error(answer.value).message


def test_store_that_refuses_fails_the_query_in_words(made: Callable[..., Sender], tmp_path: Path) -> None:
    """It may be asked again."""
    sender = made(Broken(tmp_path))
    sender.answer(msgspec.structs.replace(OK, value=LARGE))
    sender.turn()
    answer = sender.end()
    error = read_error(answer.value)

    assert (answer.outcome, answer.code, answer.correlation) == (Outcome.FAILED, "store_unreachable", b"c")
    assert (error.message, error.retriable) == ("s3://away refuses: SlowDown", True)


def test_results_beyond_what_may_wait_fail_at_once(made: Callable[..., Sender], tmp_path: Path) -> None:
    """A store that hangs fills no memory."""
    store = Gated(tmp_path)
    sender = made(store, waiting_max_bytes=40_000)
    sender.terminal.answer(msgspec.structs.replace(OK, value=LARGE, reply_topic="x"), lambda: None)
    sender.answer(msgspec.structs.replace(OK, value=LARGE))
    answer = sender.end()
    store.gate.set()

    assert (answer.outcome, answer.code) == (Outcome.FAILED, "store_unreachable")
    assert "does not keep up" in read_error(answer.value).message


def test_result_larger_than_the_store_takes_fails(made: Callable[..., Sender], tmp_path: Path) -> None:
    """With the limit that it broke."""
    sender = made(LocalStore(tmp_path))
    sender.answer(msgspec.structs.replace(OK, value=bytes(50_001)))
    answer = sender.end()

    assert (answer.outcome, answer.code) == (Outcome.FAILED, "result_too_large")
    assert read_error(answer.value).message == "the result has 50001 bytes; at most 50000 can be sent"


def test_result_that_only_the_topic_refuses_goes_to_the_store(
    kafka: KafkaSettings, made: Callable[..., Sender], tmp_path: Path
) -> None:
    """The settings allow more than the operator's topic does."""
    sender = made(LocalStore(tmp_path), size_max_bytes=1_000_000)
    sender.terminal._value_max_bytes = 500_000
    sender.terminal._outbox = generous = Outbox(kafka.producer(**{"message.max.bytes": 600_000}))
    sender.answer(msgspec.structs.replace(OK, value=bytes(400_000)))
    sender.turn()
    answer = sender.end()
    generous.close(5)

    assert (answer.outcome, answer.claim) == (Outcome.OK, digest_of(bytes(400_000)))


def test_refused_reply_topic_falls_back_with_the_claim(made: Callable[..., Sender], tmp_path: Path) -> None:
    """Stored once, and `results` gets what the topic did not take."""
    sender = made(LocalStore(tmp_path))
    lost = msgspec.structs.replace(OK, value=LARGE, reply_topic="no.such.topic")
    sender.terminal.answer(lost, sender.acked.set)
    sender.turn()
    answer = sender.end()

    assert (answer.outcome, answer.claim) == (Outcome.OK, digest_of(LARGE))
    assert sender.inbox.empty()
