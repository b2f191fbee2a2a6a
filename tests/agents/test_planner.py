"""Planners as real processes on a real Kafka, with a provisioner and its executors: one plan, whoever is killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer

from benchmarks.stubs import stub_task
from registry.topic import publish
from streams.child import Child
from streams.clock import wall_us
from streams.hearing import Hearing
from streams.plans import PlanRecord, decode_plan
from streams.records import Arrivals, PlannerReport, PoolReport, Telemetry, encode
from streams.scaling import ExecutorOrder, Order, PoolOrder, decode_order, encode_order
from streams.settings import KafkaSettings
from streams.tail import Tail
from streams.topics import create

pytestmark = pytest.mark.kafka

END_S = 90.0
KLASS = "task=slow slo=468 acc=0 cost=any prio=5"


class World:
    """Counts of a router that is not there, the processes, and everything that they say."""

    def __init__(self, kafka: KafkaSettings, logs: Path) -> None:
        self.kafka, self.logs = kafka, logs
        self.rate = 0
        self.children: dict[str, Child] = {}
        self.plans: list[PlanRecord] = []
        self.orders: list[Order] = []
        self.standing: dict[str, Order] = {}
        self.executors: dict[str, tuple[Telemetry, float]] = {}
        self.leaders: dict[str, float] = {}
        self.report: PoolReport | None = None
        self._producer = Producer(kafka.producer())
        self._hearing = Hearing(kafka, back_ms=0)
        self._tails = {name: Tail(kafka, name, since_ms=0) for name in ("plans", "scaling")}
        self._second = wall_us() // 1_000_000

    def start(self, kind: str, name: str, *more: str) -> None:
        env = {
            **os.environ, "HEADRACE_KAFKA__BOOTSTRAP": self.kafka.bootstrap,
            "HEADRACE_KAFKA__PREFIX": self.kafka.prefix, "HEADRACE_KAFKA__SLOTS": "4",
            "HEADRACE_PLANNER__MACHINES_S": "2", "HEADRACE_PLANNER__PRESET": "cheapest",
            "HEADRACE_PROVISIONER__LOGS": str(self.logs), "HEADRACE_EXECUTOR__VARIANTS": "[]", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, "-P", "-m", "headrace", kind, *more]
        self.children[name] = Child(command, log=self.logs / f"{name}.log", env=env)

    def planner(self, name: str) -> None:
        self.start("planner", name, "--instance", name)

    def provisioner(self) -> None:
        self.start("provisioner", "provisioner", "--pool", "cpu", "--least", "1", "--most", "3", "--cores", "1")

    def write(self, order: Order) -> None:
        self._producer.produce(self.kafka.topic("scaling"), encode_order(order), key=order.key)
        assert self._producer.flush(END_S) == 0

    def listen(self) -> None:
        now = wall_us() // 1_000_000
        while self._second < now - 1:
            self._second += 1
            if self.rate:
                made = Arrivals(klass=KLASS, second=self._second, partition=0, count=self.rate)
                self._producer.produce(self.kafka.topic("arrivals"), encode(made), key=KLASS)
        self._producer.flush(10)
        for word in self._hearing.listen(0.1):
            if isinstance(word, Telemetry):
                self.executors[word.executor] = word, time.monotonic()
            elif isinstance(word, PoolReport):
                self.report = word
            elif isinstance(word, PlannerReport) and word.leads:
                self.leaders[word.planner] = time.monotonic()
        self.plans += [decode_plan(message.value() or b"") for message in self._tails["plans"].listen()]
        for message in self._tails["scaling"].listen():
            if message.value() is not None:
                order = decode_order(message.value() or b"")
                self.orders.append(order)
                self.standing[order.key] = order

    def until(self, true: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + END_S
        while not true():
            tails = {name: child.tail() for name, child in self.children.items()}
            assert time.monotonic() < end, (what, self.orders[-3:], self.plans[-1:], tails)
            self.listen()

    def serving(self) -> dict[str, dict[str, int]]:
        """Lanes of the executors that were heard of within a second and have carried out what stands."""
        now, found = time.monotonic(), {}
        for name, (said, at) in self.executors.items():
            order = self.standing.get(f"executor:{name}")
            if now - at < 1.0 and said.state == "ready" and order is not None and said.epoch >= order.epoch:
                found[name] = {lane.variant: lane.lanes for lane in said.lanes}
        return found

    def converged(self, machines: int) -> bool:
        """So many machines, each with the lanes of its order, and nothing booting or draining."""
        ordered = {
            order.executor: {lane.variant: lane.lanes for lane in order.lanes}
            for order in self.standing.values() if isinstance(order, ExecutorOrder)
        }  # fmt: skip
        serving = self.serving()
        pool = self.standing.get("pool:cpu")
        return (
            isinstance(pool, PoolOrder) and pool.machines == machines and len(serving) == machines
            and self.report is not None and (self.report.ready, self.report.booting, self.report.draining)
            == (machines, 0, 0) and all(serving[name] == ordered[name] for name in serving)
        )  # fmt: skip

    def machines_running(self) -> int:
        """Executor processes on this prefix, whoever started them."""
        count = 0
        for process in psutil.process_iter():
            try:
                command, env = process.cmdline(), process.environ()
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            headrace = command[1:5] == ["-P", "-m", "headrace", "executor"]  # and not its guard
            count += headrace and env.get("HEADRACE_KAFKA__PREFIX") == self.kafka.prefix
        return count

    def close(self) -> None:
        for child in self.children.values():
            child.terminate()
        for child in self.children.values():
            if not child.wait(timeout_s=20.0):
                child.kill()
        self._hearing.close()
        for tail in self._tails.values():
            tail.close()


@pytest.fixture
def world(bootstrap: str, tmp_path: Path) -> Iterator[World]:
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=f"test-planner-{wall_us():x}.", slots=4)
    create(kafka)
    publish(kafka, stub_task("slow", fixed_ms=10.0, per_item_ms=10.0, batch_max=4))
    made = World(kafka, tmp_path)
    yield made
    made.close()


def test_planner_converges_to_one_plan_whoever_is_killed(world: World) -> None:
    """Load asks for more machines; leader and provisioner die by kill -9 in the middle of it; then the load goes.

    One core carries some 60 queries a second with an eta of 0.75, so 90 and the margins need two machines, and no load
    needs one.
    """
    world.provisioner()
    world.planner("p1")
    world.planner("p2")
    world.until(lambda: world.converged(1), "one machine, kept warm")
    assert set(world.leaders) == {"p1"}

    world.rate = 90
    world.until(lambda: any(isinstance(o, PoolOrder) and o.machines >= 2 for o in world.orders), "more machines")
    world.children["p1"].kill()
    world.children["provisioner"].kill()
    killed_epoch = max(plan.epoch for plan in world.plans)
    world.provisioner()
    world.until(lambda: "p2" in world.leaders, "the second leads")
    world.until(lambda: world.converged(2), "two machines")
    assert world.machines_running() == len(world.serving())

    world.until(lambda: any(plan.planner == "p2" for plan in world.plans), "a plan of the second")
    first = next(plan for plan in world.plans if plan.planner == "p2")
    assert first.epoch > killed_epoch + 1
    epochs = [plan.epoch for plan in world.plans]
    assert epochs == sorted(epochs)

    world.rate = 0
    world.until(lambda: world.converged(1), "back to one machine")
    quiet = len(world.orders)
    end = time.monotonic() + 6.0
    while time.monotonic() < end:
        world.listen()
    assert [order for order in world.orders[quiet:] if isinstance(order, PoolOrder)] == []
    assert world.machines_running() == 1


def test_planner_a_stale_order_is_written_over(world: World) -> None:
    """By whoever wrote it: what stands at the end is the leader's, with a higher epoch."""
    world.provisioner()
    world.planner("p1")
    world.until(lambda: world.converged(1), "one machine")
    stands = world.standing["pool:cpu"]

    world.write(PoolOrder(pool="cpu", epoch=1, machines=3))
    world.rate = 20  # a plan is made
    world.until(lambda: world.standing["pool:cpu"].epoch > stands.epoch, "written over")
    assert world.machines_running() == 1


def test_planner_suspended_leader_orders_in_vain(world: World) -> None:
    """It is stopped, another takes over; woken up it leads again, but only with epochs above all others."""
    world.provisioner()
    world.planner("p1")
    world.planner("p2")
    world.until(lambda: world.converged(1), "one machine")
    os.kill(world.children["p1"].pid, signal.SIGSTOP)
    world.rate = 90
    world.until(lambda: any(plan.planner == "p2" for plan in world.plans), "a plan of the second")
    os.kill(world.children["p1"].pid, signal.SIGCONT)
    woken = len(world.plans)
    world.until(lambda: any(plan.planner == "p1" for plan in world.plans[woken:]), "a plan of the first again")
    world.until(lambda: world.converged(2), "two machines")

    epochs = [order.epoch for order in world.orders]
    assert epochs == sorted(epochs)
