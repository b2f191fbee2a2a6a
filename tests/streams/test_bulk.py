"""Acknowledgement by generation: everything is reported once, and what failed is known to have failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from streams.bulk import Bulk
from streams.settings import KafkaSettings
from tests.streams.echo import fresh_kafka

pytestmark = pytest.mark.kafka


class Ticket:
    def __init__(self, number: int) -> None:
        self.number = number
        self.error: KafkaError | None = None
        self.calls = 0

    @property
    def failed(self) -> bool:
        return self.calls > 0

    def __call__(self, error: KafkaError | None, _message: Message | None, /) -> None:
        self.error = error
        self.calls += 1


@pytest.fixture
def kafka(bootstrap: str) -> KafkaSettings:
    return fresh_kafka(bootstrap)


def polled(bulk: Bulk[Ticket], condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        bulk.poll()
        time.sleep(0.001)


def send(bulk: Bulk[Ticket], kafka: KafkaSettings, ticket: Ticket, *, partition: int = 0, size: int = 10) -> None:
    bulk.send(ticket, kafka.topic("queries"), b"x" * size, None, partition, [("n", str(ticket.number))])


def written(kafka: KafkaSettings, count: int) -> list[int]:
    consumer = Consumer({**kafka.observer(), "auto.offset.reset": "earliest", "group.id": kafka.topic("test")})
    consumer.subscribe([kafka.topic("queries")])
    got: list[int] = []
    end = time.monotonic() + 20
    while len(got) < count and time.monotonic() < end:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            headers: Any = message.headers()
            got.append(int(headers[0][1]))
    consumer.close()
    return got


def test_each_ticket_is_acknowledged_once_and_only_when_written(kafka: KafkaSettings) -> None:
    """A steady stream over many generations: all acknowledged, none twice, no callback for what went well."""
    acked: list[Ticket] = []
    generations: list[int] = []

    def note(tickets: list[Ticket]) -> None:
        acked.extend(tickets)
        generations.append(len(tickets))

    bulk = Bulk(kafka.producer(), acked=note)
    tickets = [Ticket(n) for n in range(2_000)]
    for ticket in tickets:
        send(bulk, kafka, ticket, partition=ticket.number % 2)
        if ticket.number == 0:  # the first waits for the producers' identity
            polled(bulk, lambda: not bulk.open)
        if ticket.number % 10 == 0:
            bulk.poll()
            time.sleep(0.001)
    polled(bulk, lambda: not bulk.open)

    assert sorted(ticket.number for ticket in acked) == list(range(2_000))
    assert len(generations) > 2
    assert not any(ticket.calls for ticket in tickets)
    assert sorted(written(kafka, 2_000)) == list(range(2_000))


def test_a_record_that_fails_is_called_and_not_acknowledged(kafka: KafkaSettings) -> None:
    """A partition that does not exist: the others of the generation are acknowledged, this one hears why not."""
    acked: list[Ticket] = []
    bulk: Bulk[Ticket] = Bulk(
        kafka.producer(**{"topic.metadata.propagation.max.ms": 100, "delivery.timeout.ms": 3_000}), acked=acked.extend
    )
    tickets = [Ticket(n) for n in range(10)]
    for ticket in tickets:
        send(bulk, kafka, ticket, partition=99 if ticket.number == 4 else 0)
    polled(bulk, lambda: not bulk.open)

    assert sorted(ticket.number for ticket in acked) == [n for n in range(10) if n != 4]
    assert [ticket.calls for ticket in tickets] == [int(n == 4) for n in range(10)]
    assert tickets[4].error is not None


def test_a_producer_that_died_acknowledges_nothing(kafka: KafkaSettings) -> None:
    """After a fatal error nobody can say which callbacks still came: every ticket hears of a failure, once."""
    acked: list[Ticket] = []
    bulk: Bulk[Ticket] = Bulk(kafka.producer(), acked=acked.extend)
    tickets = [Ticket(n) for n in range(20)]
    for ticket in tickets:
        send(bulk, kafka, ticket)
    bulk._filling.rebuilt += 1  # what the outbox notes when it has replaced its producer
    polled(bulk, lambda: not bulk.open)

    assert not acked
    assert [ticket.calls for ticket in tickets] == [1] * 20


def test_what_cannot_be_queued_is_raised_and_forgotten(kafka: KafkaSettings) -> None:
    """Larger than message.max.bytes: the caller hears at once, and the ticket is in no generation."""
    acked: list[Ticket] = []
    bulk: Bulk[Ticket] = Bulk(kafka.producer(), acked=acked.extend)
    with pytest.raises(KafkaException):
        send(bulk, kafka, Ticket(0), size=20_000_000)
    send(bulk, kafka, Ticket(1))

    assert bulk.close() == 0
    assert [ticket.number for ticket in acked] == [1]
    assert not bulk.open
