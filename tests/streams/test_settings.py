"""The librdkafka properties that clients are made from."""

from __future__ import annotations

from typing import Any

import pytest

from streams.settings import KafkaSettings

KAFKA = KafkaSettings(bootstrap="a:1", prefix="p.", properties={"sasl.username": "me", "fetch.wait.max.ms": "7"})
KINDS = {
    "client": KAFKA.client(**{"fetch.wait.max.ms": 100}),
    "producer": KAFKA.producer(**{"fetch.wait.max.ms": 100}),
    "consumer": KAFKA.consumer("g", **{"fetch.wait.max.ms": 100}),
    "observer": KAFKA.observer(**{"fetch.wait.max.ms": 100}),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_properties_of_the_operator_are_in_every_client_and_win(kind: str) -> None:
    """Security goes everywhere, and what the file says is stronger than what the code says."""
    config = KINDS[kind]

    assert (config["bootstrap.servers"], config["sasl.username"], config["fetch.wait.max.ms"]) == ("a:1", "me", "7")


@pytest.mark.parametrize("made", [KAFKA.consumer("router"), KAFKA.observer()])
def test_group_begins_with_the_prefix(made: dict[str, Any]) -> None:
    """So that one prefixed right on groups is enough."""
    assert made["group.id"].startswith("p.")


def test_observer_commits_nothing() -> None:
    """It may read what others own, and moves nobody's place."""
    assert KAFKA.observer()["enable.auto.commit"] is False
