"""A provisioner with real executor processes on a real Kafka: orders, bounds, deaths and its own end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer

from agents.machines import LocalMachines
from agents.provisioner import Provisioner
from agents.provisioner_settings import ProvisionerSettings
from benchmarks.stubs import stub_task
from registry.topic import publish
from streams.hearing import Hearing
from streams.records import PoolReport, Telemetry
from streams.scaling import PoolOrder, encode_order
from streams.settings import KafkaSettings
from streams.topics import create

pytestmark = pytest.mark.kafka

END_S = 60.0


class Pool:
    """A provisioner in a thread, the orders it gets, and what is heard of its machines."""

    def __init__(self, kafka: KafkaSettings, logs: Path) -> None:
        self.kafka = kafka
        env = {
            **os.environ, "HEADRACE_KAFKA__BOOTSTRAP": kafka.bootstrap, "HEADRACE_KAFKA__PREFIX": kafka.prefix,
            "HEADRACE_KAFKA__SLOTS": "4", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        settings = ProvisionerSettings(least=0, most=2, first=0, silence_s=5.0, logs=logs)
        self.machines = LocalMachines(pool="cpu", cores=1, env=env, logs=logs, stop_s=15.0)
        self.provisioner = Provisioner(settings, kafka, self.machines)
        self.thread = threading.Thread(target=self.provisioner.run)
        self._producer = Producer(kafka.producer())
        self._hearing = Hearing(kafka, back_ms=0)
        self.executors: dict[str, tuple[Telemetry, float]] = {}
        self.report: PoolReport | None = None
        self.thread.start()

    def order(self, machines: int, epoch: int) -> None:
        made = PoolOrder(pool="cpu", epoch=epoch, machines=machines)
        self._producer.produce(self.kafka.topic("scaling"), encode_order(made), key=made.key)
        assert self._producer.flush(END_S) == 0

    def serving(self) -> set[str]:
        """Who has a slot and was heard of within the last second."""
        now = time.monotonic()
        return {name for name, (said, at) in self.executors.items() if said.slots and now - at < 1.0}

    def until(self, true: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + END_S
        while not true():
            assert time.monotonic() < end, (what, self.executors, self.report)
            for word in self._hearing.listen(0.1):
                if isinstance(word, PoolReport):
                    self.report = word
                elif isinstance(word, Telemetry):
                    self.executors[word.executor] = word, time.monotonic()

    def close(self) -> None:
        self.provisioner.stop()
        self.thread.join(END_S)
        self._hearing.close()


@pytest.fixture
def pool(bootstrap: str, tmp_path: Path) -> Iterator[Pool]:
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=f"test-provisioner-{os.getpid()}.", slots=4)
    create(kafka)
    publish(kafka, stub_task("fast", fixed_ms=1.0, batch_max=8))
    made = Pool(kafka, tmp_path)
    yield made
    made.close()


def test_provisioner_keeps_what_was_ordered(pool: Pool) -> None:
    """Up to its bound, again after kill -9, down after draining, not by a stale order; nothing outlives it."""
    pool.order(5, epoch=3)
    pool.until(lambda: len(pool.serving()) == 2, "two of five, since two is the most")
    pool.until(lambda: pool.report is not None and pool.report.ready == 2, "its own report")
    first = pool.serving()
    victim = pool.machines._children[min(first)].pid
    os.kill(victim, signal.SIGKILL)
    pool.until(lambda: len(pool.serving()) == 2 and pool.serving() != first, "another in the place of the dead one")
    pool.order(0, epoch=2)
    pool.order(1, epoch=4)
    pool.until(lambda: pool.report is not None and (pool.report.epoch, pool.report.ready) == (4, 1), "one left")
    pool.until(lambda: len(pool.provisioner.machines) == 1 and len(pool.serving()) == 1, "one is left, and serves")
    left = [child.pid for child in pool.machines._children.values()]
    pool.provisioner.stop()
    pool.thread.join(END_S)

    assert len(left) == 1
    assert not any(psutil.pid_exists(pid) for pid in left)


def test_provisioner_never_has_more_machines_than_slots(tmp_path: Path) -> None:
    """One without a slot would get no work, and might take the slot of one that has lanes."""
    machines = LocalMachines(pool="cpu", cores=1, env={}, logs=tmp_path, stop_s=1.0)
    made = Provisioner(ProvisionerSettings(least=5, most=9), KafkaSettings(slots=3), machines)
    made.order = PoolOrder(pool="cpu", epoch=1, machines=9)

    assert made.wanted == 3
    made.order = PoolOrder(pool="cpu", epoch=2, machines=0)
    assert made.wanted == 3
