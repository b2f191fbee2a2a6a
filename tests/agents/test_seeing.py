"""The snapshot that the planner makes of what it heard."""

from __future__ import annotations

import pytest

from agents.observed import Observed
from agents.ordering import Standing
from agents.plan_delivered import DEADBAND
from agents.planner_settings import PlannerSettings
from agents.seeing import Seen
from agents.warmth import Policy
from streams.plans import Host, PoolNow, Snapshot
from streams.records import Arrivals, LaneReport, PoolReport, Telemetry
from tests.agents.test_planning import BOTH

KLASS = "task=t slo=100 acc=0 cost=any prio=5"
T0_S = 1_000_000


class World:
    def __init__(self, warm: Policy = "always") -> None:
        self.seen = Seen(PlannerSettings(instance="p", warm=warm, keep_s=60.0, forget_s=10.0))
        self.observed = Observed()

    def at(self, second: int) -> Snapshot:
        return self.seen.snapshot(Standing(), self.observed, now_us=(T0_S + second) * 1_000_000)

    def ask(self, second: int) -> None:
        self.observed.add(Arrivals(klass=KLASS, second=T0_S + second, partition=0, count=5), now_s=T0_S + second)


def test_snapshot_says_how_large_executors_and_pools_are() -> None:
    """Their cores and memory as they said; what failed is not held."""
    world = World()
    now_us = T0_S * 1_000_000
    world.seen.heard(
        Telemetry(
            executor="e", pool="cpu", cores=2, memory_mb=900, pending={"w": "failed: no file"},
            lanes=(LaneReport(variant="v", lanes=2), LaneReport(variant="w", lanes=1)),
        ),
        now_us=now_us,
    )  # fmt: skip
    world.seen.heard(PoolReport(pool="cpu", least=0, most=3, booting=1, ready=1, cores=4), now_us=now_us)

    made = world.at(0)
    assert made.hosts == (Host(name="e", pool="cpu", cores=2, memory_mb=900, held={"v": 2}, failed=("w",)),)
    assert made.pools == (PoolNow(pool="cpu", least=0, most=3, alive=2, cores=4),)


def test_snapshot_keeps_warm_by_the_policy() -> None:
    """Long after the class is forgotten as load."""
    world, always = World("idle"), World("always")
    for each in (world, always):
        each.ask(0)

    assert [demand.klass for demand in world.at(5).demands] == [KLASS]
    assert world.at(30).demands == ()
    assert world.at(60).warm == ("task=t",)
    assert world.at(61).warm == ()
    assert always.at(61).warm is None


def test_snapshot_says_what_lanes_were_seen_to_deliver() -> None:
    """A lane of 4 ms a query that was busy all along and did 150 a second: 0.6 of its 250."""
    world = World()
    assert world.at(0).eta == {}
    for second in range(1_200):
        lane = LaneReport(
            variant="good/v", lanes=1, done=150 * second, batches=150 * second, busy_us=second * 1_000_000
        )
        now_us = (T0_S + second) * 1_000_000
        world.seen.heard(Telemetry(executor="e", pool="cpu", lanes=(lane,), sent_us=now_us), now_us=now_us)
        world.seen.learn(BOTH, now_us=now_us)

    assert world.at(1_200).eta == {"good/v@cpu": pytest.approx(0.6, abs=DEADBAND)}


def test_snapshot_remembers_failures_that_the_next_order_silences() -> None:
    """An order without the variant ends the executor's word of it; the plan must not put it there again."""
    world = World()
    for second, pending in ((0, {"v": "failed: no file"}), (1, {})):
        word = Telemetry(executor="e", pool="cpu", pending=pending)
        world.seen.heard(word, now_us=(T0_S + second) * 1_000_000)

    assert world.at(1).hosts == (Host(name="e", pool="cpu", cores=1, failed=("v",)),)
