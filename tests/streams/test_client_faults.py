"""The client when its cluster goes away and comes back."""

from __future__ import annotations

import pytest

from headrace import Client, KafkaSettings
from streams.broker import LocalBroker
from streams.errors import Unreachable
from tests.streams.echo import Echo, fresh_kafka

pytestmark = [pytest.mark.kafka, pytest.mark.faults]
JPEG = b"\xff\xd8\xff" + bytes(500)


def test_broker_gone_fails_queries_and_its_return_mends_the_client() -> None:
    """A query that cannot be delivered says so; the same client, and its place in `results`, work on afterwards."""
    with LocalBroker() as broker:
        kafka: KafkaSettings = fresh_kafka(
            broker.bootstrap, properties={"delivery.timeout.ms": "1500", "reconnect.backoff.max.ms": "500"}
        )
        with Client(kafka) as client:
            with Echo(kafka):
                assert client.ask(JPEG, task="t", timeout=30).ok
            broker.kill()
            pending = client.submit(JPEG, task="t")
            with pytest.raises(Unreachable, match=f"{pending.query_id}: not delivered to {broker.bootstrap}"):
                pending.result(30)
            broker.restart()
            with Echo(kafka):
                assert client.ask(JPEG, task="t", timeout=30).ok
            counts = client.counts()

    assert (counts.submitted, counts.answered, counts.undelivered, counts.missing) == (3, 2, 1, 0)


def test_client_of_another_process_is_refused(bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fork librdkafka's threads are gone: without this check a query would wait for ever."""
    with Client(fresh_kafka(bootstrap)) as client:
        monkeypatch.setattr("streams.exchange.os.getpid", lambda: 1)
        with pytest.raises(RuntimeError, match="before a fork"):
            client.submit(JPEG, task="t")
