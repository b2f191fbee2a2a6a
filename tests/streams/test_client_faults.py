"""The client when its cluster goes away and comes back."""

from __future__ import annotations

import pytest

from headrace import Client, KafkaSettings
from streams.broker import LocalBroker
from streams.errors import Unreachable
from tests.streams.echo import Echo, fresh_kafka

pytestmark = [pytest.mark.kafka, pytest.mark.faults]
JPEG = b"\xff\xd8\xff" + bytes(500)


def asked_until_ok(client: Client) -> None:
    """Ask, and ask again what was not delivered: just after a start the broker may still load its coordinators."""
    for _ in range(20):
        try:
            assert client.ask(JPEG, task="t", timeout=30).ok
        except Unreachable:
            continue
        return
    pytest.fail("never delivered")


def test_broker_gone_fails_queries_and_its_return_mends_the_client() -> None:
    """A query that cannot be delivered says so; the same client, and its place in `results`, work on afterwards."""
    with LocalBroker() as broker:
        kafka: KafkaSettings = fresh_kafka(
            broker.bootstrap, properties={"delivery.timeout.ms": "1500", "reconnect.backoff.max.ms": "500"}
        )
        with Client(kafka) as client:
            with Echo(kafka):
                asked_until_ok(client)
            broker.kill()
            pending = client.submit(JPEG, task="t")
            with pytest.raises(Unreachable, match=f"{pending.query_id}: not delivered to {broker.bootstrap}"):
                pending.result(30)
            broker.restart()
            with Echo(kafka):
                asked_until_ok(client)
            counts = client.counts()

    assert (counts.answered, counts.missing, counts.copies) == (2, 0, 0)
    assert counts.undelivered == counts.submitted - 2 >= 1


def test_client_of_another_process_is_refused(bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fork librdkafka's threads are gone: without this check a query would wait for ever."""
    with Client(fresh_kafka(bootstrap)) as client:
        monkeypatch.setattr("streams.exchange.os.getpid", lambda: 1)
        with pytest.raises(RuntimeError, match="before a fork"):
            client.submit(JPEG, task="t")
