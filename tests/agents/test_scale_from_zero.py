"""A query while no machine runs, on a real Kafka: it waits until one is started, its variant is loaded, and it ran."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.stubs import stub_task
from registry.topic import publish
from streams.client import Client
from streams.clock import wall_us
from streams.scaling import PoolOrder
from streams.settings import KafkaSettings
from streams.topics import create
from tests.agents.test_planner import World

pytestmark = pytest.mark.kafka

ITEM = np.zeros(4, np.float32)
SLO_MS = 60_000


@pytest.fixture
def world(bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=f"test-from-zero-{wall_us():x}.", slots=4)
    create(kafka)
    publish(kafka, stub_task("slow", fixed_ms=10.0, per_item_ms=10.0, batch_max=4))
    for key, value in {"WARM": "idle", "KEEP_S": "10", "FORGET_S": "10"}.items():
        monkeypatch.setenv(f"HEADRACE_PLANNER__{key}", value)
    monkeypatch.setenv("HEADRACE_ROUTER__PARK_MS", str(SLO_MS))
    made = World(kafka, tmp_path)
    yield made
    made.close()


def test_query_waits_through_a_scale_from_zero_and_its_task_cools_again(world: World) -> None:
    """The first machine ever, and one more after the pool went back to none."""
    pool = ("--pool", "cpu", "--least", "0", "--most", "2", "--cores", "1", "--set", "provisioner.first=0")
    world.start("provisioner", "provisioner", *pool)
    world.start("router", "router")
    world.planner("p1")
    world.until(lambda: world.report is not None and world.leaders != {}, "a pool and a planner")
    assert world.machines_running() == 0

    with Client(world.kafka) as client:
        for again in (False, True):
            pending = client.submit(ITEM, task="slow", slo_ms=SLO_MS)
            world.until(lambda pending=pending: pending.done(), "an answer")  # type: ignore[misc]
            reply = client.result(pending, timeout=1.0)
            assert (reply.outcome, reply.variant) == ("ok", "slow-model/stub")
            assert sum(bool(held) for held in world.serving().values()) == 1

            if again:
                break
            world.until(lambda: ordered(world) == 0, "no machine is wanted")
            world.until(lambda: world.machines_running() == 0, "none runs")


def ordered(world: World) -> int:
    """Machines of the pool, by the order that stands."""
    stands = world.standing["pool:cpu"]
    assert isinstance(stands, PoolOrder)
    return stands.machines
