"""What ends a query reaches a topic, whatever is refused on the way."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streams.answers import read_answer, read_error
from streams.contract import Outcome
from streams.errors import BadReplyAddress
from streams.outbox import Headers, Outbox
from streams.records import Answer
from streams.settings import KafkaSettings
from streams.terminal import CUT, Terminal
from tests.streams.echo import fresh_kafka, read_all

pytestmark = pytest.mark.kafka
OK = Answer(query_id="q", outcome=Outcome.OK, value=b"{}", reply_topic="", correlation=b"c", batch=1)


class Sender(NamedTuple):
    """A Terminal on topics of its own, and how to wait until it is done."""

    kafka: KafkaSettings
    terminal: Terminal
    outbox: Outbox

    def answer(self, **change: Any) -> None:
        acked = threading.Event()
        answer = msgspec.structs.replace(OK, **{"reply_topic": self.kafka.topic("results"), **change})
        self.terminal.answer(answer, acked.set)
        assert acked.wait(20), f"not acknowledged, {self.terminal.unsent} given up"


@pytest.fixture
def sender(bootstrap: str) -> Iterator[Sender]:
    kafka = fresh_kafka(bootstrap, value_max_bytes=20_000, result_partitions=1)
    outbox = Outbox(kafka.producer())
    yield Sender(kafka, Terminal(outbox, kafka), outbox)
    outbox.close(5)


def answers(kafka: KafkaSettings, topic: str = "results") -> list[Answer]:
    return [read_answer(message.headers() or [], message.value(), topic=topic) for message in read_all(kafka, topic)]  # type: ignore[arg-type]


def test_answer_is_acked_once_the_broker_has_it(sender: Sender) -> None:
    """The record's key is the query's id, its headers the answer."""
    sender.answer()

    [message] = read_all(sender.kafka, "results")
    assert (message.key(), message.value()) == (b"q", b"{}")
    assert answers(sender.kafka) == [msgspec.structs.replace(OK, reply_topic="results")]


def test_oversize_result_becomes_failed_with_both_sizes(sender: Sender) -> None:
    """The query still ends, and says why."""
    sender.answer(value=bytes(20_001))

    [answer] = answers(sender.kafka)
    assert (answer.outcome, answer.code, answer.correlation) == (Outcome.FAILED, "result_too_large", b"c")
    assert read_error(answer.value).message == "the result has 20001 bytes; at most 20000 can be sent"


def test_result_larger_than_the_topic_takes_becomes_failed(bootstrap: str) -> None:
    """The operator's topic may take less than the settings say: the broker's refusal has the same end."""
    kafka = fresh_kafka(bootstrap, value_max_bytes=20_000, result_partitions=1)
    generous = kafka.model_copy(update={"value_max_bytes": 500_000})
    outbox = Outbox(generous.producer())
    Sender(kafka, Terminal(outbox, generous), outbox).answer(value=bytes(400_000))
    outbox.close(5)

    assert [(answer.outcome, answer.code) for answer in answers(kafka)] == [(Outcome.FAILED, "result_too_large")]


@pytest.mark.parametrize("change", [{"reply_topic": "no.such.topic"}, {"reply_partition": 77}])
def test_refused_reply_address_falls_back_to_results(sender: Sender, change: dict[str, Any]) -> None:
    """One query with a bad address does not lose its answer, and holds nobody else's."""
    sender.answer(**change)

    assert [(answer.outcome, answer.correlation) for answer in answers(sender.kafka)] == [(Outcome.OK, b"c")]


def test_refused_results_topic_falls_back_to_dead_letters(bootstrap: str) -> None:
    """Someone deleted `results`: the answers wait where an operator looks."""
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=f"{fresh_kafka(bootstrap).prefix}half.")
    admin, dead = AdminClient(kafka.client()), kafka.topic("dead-letters")
    admin.create_topics([NewTopic(dead, 1, 1)])[dead].result(10)
    outbox = Outbox(kafka.producer(**{"topic.metadata.propagation.max.ms": 100}))
    Sender(kafka, Terminal(outbox, kafka), outbox).answer()
    outbox.close(5)

    assert answers(kafka, "dead-letters") == [msgspec.structs.replace(OK, reply_topic="dead-letters")]


def produced(kafka: KafkaSettings, value: bytes | None, headers: Headers, **config: Any) -> Message:
    """A record in `queries` as its reader sees it."""
    producer = Producer(kafka.producer(**{"message.max.bytes": 5_000_000, **config}))
    producer.produce(kafka.topic("queries"), value, key=b"key", partition=0, headers=headers)
    assert producer.flush(10) == 0
    return read_all(kafka, "queries")[-1]


def test_dead_letter_keeps_key_value_and_headers_and_adds_the_reason(sender: Sender) -> None:
    """Nothing of the record is lost but our own internal header."""
    acked = threading.Event()
    message = produced(sender.kafka, b"\x00value", [("task", b"t"), ("x", b"\xff"), ("headrace", b"{}")])
    sender.terminal.dead_letter(message, BadReplyAddress("reply-partition -1 is negative"), acked.set)
    assert acked.wait(20)

    [letter] = read_all(sender.kafka, "dead-letters")
    assert (letter.key(), letter.value()) == (b"key", b"\x00value")
    assert letter.headers() == [
        ("task", b"t"),
        ("x", b"\xff"),
        ("__connect.errors.topic", sender.kafka.topic("queries").encode()),
        ("__connect.errors.partition", b"0"),
        ("__connect.errors.offset", b"0"),
        ("__connect.errors.exception.class.name", b"BadReplyAddress"),
        ("__connect.errors.exception.message", b"reply-partition -1 is negative"),
        ("error-code", b"bad_reply_address"),
        ("disposition", b"poison"),
    ]


def test_dead_letter_of_a_tombstone_is_a_tombstone(sender: Sender) -> None:
    """None stays None, it does not become empty bytes."""
    acked = threading.Event()
    sender.terminal.dead_letter(produced(sender.kafka, None, []), BadReplyAddress("x"), acked.set)
    assert acked.wait(20)

    assert [letter.value() for letter in read_all(sender.kafka, "dead-letters")] == [None]


def test_dead_letter_that_no_topic_takes_is_cut_not_kept_back(sender: Sender) -> None:
    """A record that was small only under gzip would else hold its partition for ever."""
    acked = threading.Event()
    bomb = produced(
        sender.kafka, bytes(2_000_000), [("task", b"t"), ("big", bytes(5_000))], **{"compression.type": "gzip"}
    )
    assert len(gzip.compress(bytes(2_000_000))) < 20_000
    sender.terminal.dead_letter(bomb, BadReplyAddress("x"), acked.set)
    assert acked.wait(20)

    [letter] = read_all(sender.kafka, "dead-letters")
    headers = dict(letter.headers() or [])
    assert letter.value() == bytes(1_024)
    assert (headers["task"], headers["error-code"], int(headers[CUT] or 0) > 2_000_000) == (
        b"t", b"bad_reply_address", True,
    )  # fmt: skip
    assert "big" not in headers
    assert sender.terminal.unsent == 0


def test_given_up_answer_is_counted_and_never_acked(bootstrap: str) -> None:
    """With neither `results` nor `dead-letters` the offset must stay uncommitted."""
    kafka = KafkaSettings(bootstrap=bootstrap, prefix="nothing.here.")
    outbox = Outbox(kafka.producer(**{"topic.metadata.propagation.max.ms": 100}))
    terminal = Terminal(outbox, kafka)
    acked = threading.Event()
    terminal.answer(msgspec.structs.replace(OK, reply_topic=kafka.topic("results")), acked.set)
    outbox.close(10)

    assert terminal.unsent == 1
    assert not acked.is_set()
