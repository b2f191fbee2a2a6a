"""What every test may ask for: a real Kafka, started once a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from streams.broker import LocalBroker
from streams.settings import BOOTSTRAP_ENV


class ExistingBroker(NamedTuple):
    """A Kafka that someone else runs, named by the environment."""

    bootstrap: str


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[LocalBroker | ExistingBroker]:
    """One node for the whole run, so use topics of your own; do not kill it, start another for that."""
    if existing := os.environ.get(BOOTSTRAP_ENV):
        yield ExistingBroker(existing)
        return
    with LocalBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def bootstrap(kafka_broker: LocalBroker | ExistingBroker) -> str:
    """The address of `kafka_broker`."""
    return kafka_broker.bootstrap
