"""Of which selections a router tells: a sample, those that asked, and never more than the bounds allow."""

from __future__ import annotations

from typing import cast

import msgspec
import numpy as np
import pytest

from agents import telling
from agents.metrics import RouterMetrics
from agents.telling import ASKED_BURST, QUEUED_MAX, SAMPLED_APART_S, Telling
from streams.decisions import Decision, decode_decision
from streams.errors import Overloaded
from streams.outbox import Outbox
from streams.query import Query
from tests.agents.builders import EVERY, T0, query, requirements, router, telemetry


class Sent:
    """An outbox that keeps what it gets, or refuses it."""

    def __init__(self) -> None:
        self.said: list[Decision] = []
        self.queued = 0
        self.full = False

    def __len__(self) -> int:
        return self.queued

    def send(self, topic: str, value: bytes | None, *, key: bytes) -> None:
        if self.full:
            raise Overloaded("the queue is full")
        said = decode_decision(value or b"")
        assert (topic, key) == ("decisions", said.query_id.encode())
        self.said.append(said)


class World:
    """A router's selections, and a clock that stands until it is moved."""

    def __init__(self, *, share: float, seed: int = 1) -> None:
        self.selector, self.fleet = router()
        self.sent, self.metrics, self.now = Sent(), RouterMetrics(), 100.0
        self.telling = Telling(
            cast("Outbox", self.sent), self.metrics, topic="decisions", router="r", share=share,
            rng=np.random.default_rng(seed), clock=lambda: self.now,
        )  # fmt: skip

    def runs(self) -> None:
        self.fleet.heard(telemetry("e", *EVERY, received=1 << 60), now_us=T0)

    def select(self, asked: Query) -> None:
        """As the router does."""
        outcome = self.selector.select(asked, now_us=T0)
        self.telling.left -= 1
        if self.telling.left <= 0 or asked.explain:
            self.telling.tell(self.selector, asked, outcome, reply_topic="results", now_us=T0)

    def count(self, what: str) -> float:
        return self.metrics.registry.get_sample_value("headrace_router_decisions_total", {"what": what}) or 0.0


def asking(number: int = 0) -> Query:
    return msgspec.structs.replace(query(requirements(slo_ms=None)), query_id=f"q{number}", explain=True)


@pytest.mark.parametrize("share", [0.01, 0.2, 1.0])
def test_telling_samples_the_share_that_is_set(share: float) -> None:
    """Within four standard deviations of it, while the clock leaves room."""
    world, count = World(share=share), 5_000
    world.runs()
    for _ in range(count):
        world.now += 1.0
        world.select(query(requirements(slo_ms=None)))

    assert abs(len(world.sent.said) - share * count) <= 4 * (share * (1 - share) * count) ** 0.5
    assert world.count("told") == len(world.sent.said)


def test_telling_none_of_a_share_of_zero_but_those_that_ask() -> None:
    """The header is enough."""
    world = World(share=0.0)
    world.runs()
    for number in range(200):
        world.now += 1.0
        world.select(asking(number) if number == 100 else query(requirements(slo_ms=None)))

    assert [(each.query_id, each.variant, len(each.candidates)) for each in world.sent.said] == [("q100", "good", 3)]


def test_telling_samples_at_most_fifty_a_second() -> None:
    """Whatever the share; what falls between is not counted as dropped, it was never promised."""
    world = World(share=1.0)
    world.runs()
    for _ in range(1_000):
        world.now += 0.001
        world.select(query(requirements(slo_ms=None)))

    assert 1.0 / SAMPLED_APART_S - 1 <= len(world.sent.said) <= 1.0 / SAMPLED_APART_S + 1
    assert world.count("dropped") == 0


def test_telling_who_asks_for_all_gets_a_burst_and_then_a_rate() -> None:
    """And what is not told is counted."""
    world = World(share=0.0)
    world.runs()
    for number in range(1_000):
        world.select(asking(number))
    burst = len(world.sent.said)
    world.now += 0.5
    for number in range(1_000):
        world.select(asking(number))

    assert burst - ASKED_BURST in (0, 1)
    assert len(world.sent.said) - burst in (50, 51)
    assert world.count("told") + world.count("dropped") == 2_000


@pytest.mark.parametrize("queued", [0, QUEUED_MAX + 1])
def test_telling_a_full_producer_drops_and_counts(queued: int) -> None:
    """Queries need the room more."""
    world = World(share=0.0)
    world.runs()
    world.sent.full, world.sent.queued = queued == 0, queued
    world.select(asking())

    assert (world.sent.said, world.count("dropped"), world.count("told")) == ([], 1, 0)


def test_telling_a_query_that_waits_is_told_once_and_then_chosen() -> None:
    """It is looked at every few milliseconds; what it waits for is said the first time, the choice at the end."""
    world, asked = World(share=1.0), asking()
    for _ in range(50):
        world.now += 0.01
        world.select(asked)
    world.runs()
    world.select(asked)

    assert [each.outcome for each in world.sent.said] == ["parked", "chosen"]


def test_telling_words_that_fail_harm_no_query(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in them is logged once with its trace, and counted each time."""

    def broken(*_: object, **__: object) -> Decision:
        raise KeyError("bug")

    monkeypatch.setattr(telling, "decided", broken)
    world = World(share=0.0)
    world.runs()
    for number in range(3):
        world.select(asking(number))

    assert world.count("dropped") == 3
    assert [record.exc_info is not None for record in caplog.records] == [True]
