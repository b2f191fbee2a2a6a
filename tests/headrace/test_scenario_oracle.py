"""What would have sufficed: a look ahead, machines by the second, and the best plan that stays."""

from __future__ import annotations

import time

import numpy as np
import pytest

from headrace.fleet_file import read
from headrace.fleet_parts import Fleet
from headrace.fleet_records import catalog_of
from headrace.scenario import oracle
from headrace.scenario.command import ASKS, FLEET
from headrace.scenario.play import lane_qps
from simulator.loads import Ask, Scene


@pytest.fixture
def fleet() -> Fleet:
    return read(FLEET)


def step(low: float, high: float, *, seconds: int = 90, at: int = 60) -> Scene:
    """A load of the first class that jumps."""
    qps = np.zeros((seconds, len(ASKS)))
    qps[:, 0] = np.where(np.arange(seconds) < at, low, high)
    return Scene("step", ASKS, qps)


def test_ahead_is_the_largest_of_what_comes() -> None:
    """Of each class by itself, the present second included, and the last one goes on."""
    qps = np.array([[1.0, 9.0], [2.0, 1.0], [5.0, 1.0], [3.0, 1.0]])

    assert oracle.ahead(qps, 2).tolist() == [[2.0, 9.0], [5.0, 1.0], [5.0, 1.0], [3.0, 1.0]]


def test_needed_has_its_machines_ready_when_the_load_jumps(fleet: Fleet) -> None:
    """It begins LOOK_S and a boot before, not sooner."""
    scene = step(10.0, 300.0)
    held = oracle.needed(
        scene, scene.qps, fleet, catalog_of(fleet), eta={}, options=oracle.OPTIONS, clock=time.monotonic
    )
    usd = [oracle.usd_hour([each], fleet) for each in held]

    look = oracle.LOOK_S + 5
    assert len(held) == 90
    assert len(set(usd[: 60 - look])) == 1
    assert min(usd[61 - look :]) > 2 * usd[0]


def test_fixed_stays_within_its_budget_and_what_machines_hold(fleet: Fleet) -> None:
    """Lanes for each machine, of models of the classes alone."""
    plan = oracle.fixed(
        step(10, 10), np.array([100.0, 40.0, 0.0]), fleet, catalog_of(fleet), budget_usd_hour=0.3, clock=time.monotonic
    )

    assert sum(fleet.pools[pool].price_usd_hour * n for pool, n in plan.machines.items()) <= 0.3
    assert {pool: len(lanes) for pool, lanes in plan.lanes.items()} == plan.machines
    for pool, lanes in plan.lanes.items():
        assert all(sum(held.values()) <= fleet.pools[pool].cores for held in lanes)


def test_lane_qps_heeds_the_deadline(fleet: Fleet) -> None:
    """With less time there is less batching, and a lane that is slower than the deadline carries nothing."""
    long = lane_qps(Scene("", (Ask(task="scene-labels", slo_ms=300.0),), np.ones((1, 1))), fleet)
    short = lane_qps(Scene("", (Ask(task="scene-labels", slo_ms=20.0),), np.ones((1, 1))), fleet)
    small, large = ("scene-small/emulated-int8-cpu", "cpu"), ("scene-large/emulated-int8-cpu", "cpu")

    assert long[small] > short[small] > 0
    assert long[large] > 0
    assert short[large] == 0
