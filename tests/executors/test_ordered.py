"""An executor that is told what to hold, on a real Kafka: orders in every state, and none of its queries lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer

from benchmarks.load import Answers, Load
from benchmarks.stubs import stub_task
from benchmarks.system import System
from streams.hearing import Hearing
from streams.records import Telemetry
from streams.scaling import ExecutorOrder, LaneOrder, PoolOrder, encode_order
from streams.settings import KafkaSettings
from tests.executors.test_process import item

pytestmark = pytest.mark.kafka

END_S = 30.0
TASKS = ("fast", "slow")


class Ordering:
    """The writer of orders to one executor, and what that executor says."""

    def __init__(self, system: System) -> None:
        self.kafka = system.kafka
        self._producer = Producer(self.kafka.producer())
        self._hearing = Hearing(self.kafka, back_ms=1_000)
        self.said: Telemetry | None = None

    def order(self, epoch: int, *lanes: LaneOrder) -> None:
        made = ExecutorOrder(executor="executor-0", epoch=epoch, lanes=lanes)
        self.write(made.key, encode_order(made))

    def write(self, key: str, value: bytes | None) -> None:
        self._producer.produce(self.kafka.topic("scaling"), value, key=key)
        assert self._producer.flush(END_S) == 0

    def until(self, true: Callable[[Telemetry], bool]) -> Telemetry:
        end = time.monotonic() + END_S
        while self.said is None or not true(self.said):
            assert time.monotonic() < end, self.said
            for word in self._hearing.listen(0.2):
                if isinstance(word, Telemetry):
                    self.said = word
        return self.said

    def settled(self, epoch: int) -> Telemetry:
        """What it says once it has carried out an order."""
        return self.until(lambda said: said.epoch == epoch and "loading" not in said.pending.values())

    def close(self) -> None:
        self._hearing.close()


def held(said: Telemetry) -> list[str]:
    return [lane.variant.partition("-")[0] for lane in said.lanes]


def lane(task: str, lanes: int = 1, *, batch_max: int = 0) -> LaneOrder:
    return LaneOrder(variant=f"{task}-model/stub", lanes=lanes, batch_max=batch_max)


@pytest.fixture(scope="module")
def ordering(bootstrap: str) -> Iterator[Ordering]:
    kafka = KafkaSettings(
        bootstrap=bootstrap, prefix=f"test-ordered-{os.getpid()}.", slots=1, query_partitions=1, result_partitions=1
    )
    tasks = [*stub_task("fast", fixed_ms=1.0, batch_max=8), *stub_task("slow", fixed_ms=20.0, batch_max=8)]
    with System(kafka, tasks) as running:
        running.start("router-0")
        running.start("executor-0", instance="executor-0", cores=2, variants=[])
        made = Ordering(running)
        yield made
        made.close()


def test_orders_are_carried_out_and_stale_ones_are_not(ordering: Ordering) -> None:
    """Without an order nothing is held; each next one is; an older, a foreign and an unreadable one change nothing."""
    empty = ordering.until(lambda said: said.state == "ready")
    ordering.order(5, lane("fast"), lane("nobody"))
    first = ordering.settled(5)
    ordering.order(6, lane("slow", 2), lane("fast"))
    both = ordering.settled(6)
    ordering.order(4, lane("nobody"))
    ordering.write("executor:executor-0", b"{")
    ordering.write("executor:executor-0", encode_order(PoolOrder(pool="cpu", epoch=9, machines=1)))
    ordering.order(7, lane("slow"))
    one = ordering.until(lambda said: said.epoch == 7 and not said.pending)

    assert (empty.lanes, empty.epoch, empty.slots) == ((), 0, ())
    assert held(first) == ["fast"]
    assert list(first.pending) == ["nobody-model/stub"]
    assert first.pending["nobody-model/stub"].startswith("failed: no such variant")
    assert sorted(held(both)) == ["fast", "slow"]
    assert held(one) == ["slow"]


def test_queries_under_changing_orders_are_all_answered(ordering: Ordering) -> None:
    """Loaded, widened, capped and unloaded under load: an answer for each query, and none is unmarked twice."""
    ordering.order(10, lane("fast"), lane("slow"))
    ordering.settled(10)
    value = item(0.0)
    answers = Answers(ordering.kafka)
    load = Load(
        ordering.kafka,
        lambda n: (
            value,
            [("task", ("fast", "slow")[n % 2]), ("slo-ms", "8000"), ("content-type", "application/x-npy")],
        ),
        reply_partition=0,
    )
    sent: dict[str, int] = {}
    orders = [
        (11, (lane("fast", 2), lane("slow"))),
        (12, (lane("fast", batch_max=2), lane("slow", 2))),
        (13, (lane("fast"),)),
        (14, (lane("slow"), lane("fast"))),
    ]
    for epoch, lanes in orders:
        ordering.order(epoch, *lanes)
        sent.update(load.send(rate_qps=100, seconds=1.5).at_us)
    ordering.settled(14)
    missing = answers.wait_for(list(sent), END_S)
    answers.stop()
    got = {name: answers.by_id.get(name, []) for name in sent}

    assert missing == []
    assert all(sum(not each.answer.duplicate for each in copies) <= 1 for copies in got.values())
    assert {copies[0].answer.outcome.value for copies in got.values()} <= {"ok", "expired", "rejected"}
    assert sum(copies[0].answer.outcome == "ok" for copies in got.values()) > len(sent) / 2
