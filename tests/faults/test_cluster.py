"""More than one of what there is usually one of: routers that share `queries`, and brokers of which one dies."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from confluent_kafka.admin import AdminClient

from benchmarks.load import Answers, Load, Sent, tally
from benchmarks.stubs import ITEM, stub_task
from benchmarks.system import System
from streams.broker import LocalBroker
from streams.payloads import encode_npy
from streams.settings import KafkaSettings

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

RATE_QPS = 100.0
LOAD_S = 9.0
HARM_S = 3.0  # after the beginning of the load
ANSWER_S = 30.0
PATIENCE_S = 30.0
EXECUTORS = 2
VALUE = encode_npy(np.ones(ITEM, np.float32))


def query(_number: int) -> tuple[bytes, list[tuple[str, str | bytes]]]:
    """Without a deadline, so that nothing but an answer can be its end."""
    return VALUE, [("task", "echo"), ("content-type", "application/x-npy")]


@contextmanager
def running(kafka: KafkaSettings, *, routers: int) -> Iterator[System]:
    """Routers and executors, each router with its part of `queries`."""
    with System(kafka, stub_task("echo", fixed_ms=2.0, per_item_ms=0.5, batch_max=32)) as system:
        for number in range(routers):
            system.start(f"router-{number}")
        for number in range(EXECUTORS):
            system.start(f"executor-{number}", cores=1)
        system.wait_ready(EXECUTORS, query)
        wait_for_shares(kafka, routers)
        yield system


def wait_for_shares(kafka: KafkaSettings, routers: int) -> None:
    """Until as many members of the routers' group own partitions of `queries`, and no partition is left."""
    admin, group = AdminClient(kafka.client()), kafka.topic("router")
    end = time.monotonic() + PATIENCE_S
    while True:
        members = admin.describe_consumer_groups([group])[group].result().members
        shares = [len(member.assignment.topic_partitions) for member in members if member.assignment]
        if sum(map(bool, shares)) == routers and sum(shares) == kafka.query_partitions:
            return
        assert time.monotonic() < end, shares
        time.sleep(0.2)


def load(system: System, harm: Callable[[], object]) -> tuple[Sent, Answers]:
    """Queries at a steady rate, harm in the middle of them, and all the answers."""
    answers = Answers(system.kafka)
    sent: list[Sent] = []
    source = Load(system.kafka, query, reply_partition=0)
    sender = threading.Thread(target=lambda: sent.append(source.send(rate_qps=RATE_QPS, seconds=LOAD_S)))
    try:
        sender.start()
        time.sleep(HARM_S)
        harm()
        sender.join()
        answers.wait_for(list(sent[0].at_us), ANSWER_S)
        time.sleep(1.0)  # for late copies
    finally:
        answers.stop()
    return sent[0], answers


@pytest.fixture(scope="module")
def two_routers(bootstrap: str) -> Iterator[System]:
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=f"test-routers-{time.time_ns():x}.")
    with running(kafka, routers=2) as system:
        yield system


def test_two_routers_share_queries_and_each_is_answered_once(two_routers: System) -> None:
    """Undisturbed, no query is seen by both: one answer each. A process that got no CPU for a while may mark some."""
    sent, answers = load(two_routers, lambda: None)

    each = Counter(tuple(got.answer.outcome.value for got in answers.by_id[i]) for i in sent.at_us)
    assert each == {("ok",): len(sent.at_us)}


def test_one_of_two_routers_killed_leaves_its_queries_to_the_other(two_routers: System) -> None:
    """The survivor takes over its partitions: no query is lost, and none has two unmarked answers."""
    sent, answers = load(two_routers, lambda: two_routers.kill("router-1"))

    counted = tally(sent, answers)
    assert (counted.lost, counted.unmarked_duplicates, counted.ok) == (0, 0, counted.sent), two_routers.tails()


def test_one_of_three_brokers_killed_loses_nothing() -> None:
    """Leaders and coordinators move to those that are left, and come back: as if nothing had been."""
    with LocalBroker(nodes=3) as broker:

        def harm() -> None:
            broker.kill(1)
            time.sleep(4.0)  # the controller notices after a session of 3 s
            broker.restart(1)

        with running(KafkaSettings(bootstrap=broker.bootstrap), routers=1) as system:
            sent, answers = load(system, harm)
            counted = tally(sent, answers)

            assert (counted.lost, counted.unmarked_duplicates, counted.ok) == (0, 0, counted.sent), system.tails()
