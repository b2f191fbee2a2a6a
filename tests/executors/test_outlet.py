"""How an executor's records leave, and what is said of each, on Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import cast

import pytest
from confluent_kafka import KafkaError, Message

from executors.held import Held
from executors.outlet import ALONE_MAX, Outlet
from streams.clock import NEVER
from streams.pace import MANY
from streams.prefix import Prefix
from streams.records import Dispatch
from streams.settings import KafkaSettings
from streams.terminal import PERMANENT
from tests.streams.echo import fresh_kafka

END_S = 20.0  # for what must come


class Queries:
    """Whoever answers: notes what becomes of each query."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.outlet = Outlet(kafka, self.acked)
        self.outlet_topic = kafka.topic
        self.ends: dict[int, str] = {}
        self.sent = 0

    def acked(self, held: list[Held]) -> None:
        for one in held:
            self.finish(one.prefix, one.offset)

    def finish(self, _prefix: Prefix, offset: int) -> None:
        assert offset not in self.ends
        self.ends[offset] = "acked"

    def refused(self, held: Held, error: KafkaError) -> None:
        assert held.offset not in self.ends
        self.ends[held.offset] = "no topic" if error.code() in PERMANENT else error.name()

    def send(self, topic: str, count: int, *, now_us: int = 0) -> None:
        """Answer so many queries at once; offsets go on from the last."""
        self.outlet.expect(count, now_us=now_us)
        dispatch = Dispatch(query_id="q", variant="v", deadline_us=NEVER, arrived_us=0, reply_topic=topic)
        for offset in range(self.sent, self.sent + count):
            held = Held(cast("Message", None), Prefix(0, fence=0), offset, dispatch, False, self)
            self.outlet.answer(held, topic, b"{}", key="q", partition=-1, headers=[])
        self.sent += count

    def answer(self, topic: str, count: int) -> None:
        """The same, and wait for what becomes of them."""
        self.send(topic, count)
        self.wait()

    def holds(self) -> bool:
        return self.outlet.holds

    def wait(self) -> None:
        end = time.monotonic() + END_S
        while len(self.ends) < self.sent:
            assert time.monotonic() < end, self.ends
            self.outlet.poll(0.01)


@pytest.fixture
def slow(bootstrap: str) -> Iterator[Queries]:
    """As with a broker that takes 0.3 s."""
    made = Queries(fresh_kafka(bootstrap, result_partitions=1, properties={"linger.ms": "300"}))
    yield made
    made.outlet.close(5)


@pytest.fixture
def queries(bootstrap: str) -> Iterator[Queries]:
    # One partition each, and a topic that does not exist is known for one after 0.1 s.
    kafka = fresh_kafka(bootstrap, result_partitions=1, properties={"topic.metadata.propagation.max.ms": "100"})
    made = Queries(kafka)
    yield made
    made.outlet.close(5)


@pytest.mark.kafka
@pytest.mark.parametrize("count", [1, 3 * MANY])
def test_outlet_says_once_of_each_answer_that_it_arrived_or_not(queries: Queries, count: int) -> None:
    """One by one and in bursts: also of a topic that is not there."""
    there, absent = (queries.outlet_topic(name) for name in ("results", "absent"))

    queries.answer(there, count)
    queries.answer(absent, count)
    queries.answer(there, count)

    said = [queries.ends[offset] for offset in range(3 * count)]
    assert said == ["acked"] * count + ["no topic"] * count + ["acked"] * count


@pytest.mark.kafka
def test_outlet_tells_senders_of_a_burst_outside_its_bookkeeping(queries: Queries) -> None:
    """Who hears of a failure sends again at once, and that record is not forgotten with the burst."""
    said: list[KafkaError | None] = []
    outlet = queries.outlet

    def done(error: KafkaError | None, _message: Message) -> None:
        said.append(error)
        if error is not None:
            outlet.send(queries.outlet_topic("results"), b"again", done=done)

    outlet.expect(MANY, now_us=0)
    for _ in range(MANY):
        outlet.send(queries.outlet_topic("absent"), b"x", done=done)
    end = time.monotonic() + END_S
    while len(said) < 2 * MANY:
        assert time.monotonic() < end, said
        outlet.poll(0.01)

    assert sum(error is None for error in said) == MANY


@pytest.mark.kafka
def test_outlet_holds_a_burst_until_the_last_one_has_arrived(slow: Queries) -> None:
    """Else librdkafka's thread would spin until a slow broker has the first."""
    topic = slow.outlet_topic("results")
    slow.send(topic, MANY)
    slow.outlet.poll()
    assert not slow.holds()
    slow.send(topic, MANY)
    slow.outlet.poll()

    assert slow.holds()
    assert slow.ends == {}
    slow.wait()
    assert not slow.holds()
    assert list(slow.ends) == list(range(2 * MANY))


@pytest.mark.kafka
def test_outlet_lone_answers_of_a_slow_broker_become_a_burst(slow: Queries) -> None:
    """However slowly they come: ALONE_MAX are on their way, the next goes the other way, and all arrive."""
    topic = slow.outlet_topic("results")
    for n in range(ALONE_MAX + 1):
        assert not slow.holds()
        slow.send(topic, 1, now_us=n * 1_000_000)

    assert slow.holds()
    slow.wait()
    assert set(slow.ends.values()) == {"acked"}


@pytest.mark.kafka
def test_outlet_flush_takes_what_is_held_along(slow: Queries) -> None:
    """Nothing is left behind at the end."""
    topic = slow.outlet_topic("results")
    for _ in range(3):
        slow.send(topic, MANY)
        slow.outlet.poll()

    assert len(slow.outlet) > 0
    assert slow.outlet.flush(END_S) == 0
    assert len(slow.ends) == slow.sent
    assert len(slow.outlet) == 0
