"""The second world: everything answered, the same run for the same seed, and what scales does."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from agents.planner_settings import PlannerSettings
from simulator.hops import Hop
from simulator.loads import Ask
from simulator.scores import by_second
from simulator.world import Setup, World
from tests.simulator.worlds import GOOD, QUICK, SITE, catalog, steady, step

PLANNER = PlannerSettings(instance="p", far_s=20.0)


def fixed(held: dict[str, int]) -> Setup:
    return Setup(catalog=catalog(), sites=(SITE,), lanes={"cpu": [held]})


def test_world_that_suffices_answers_all_in_time() -> None:
    """Two machines of two quick lanes, at a third of what they carry; latency is the batch's and four hops."""
    ran = World(fixed({QUICK: 2}), steady(60.0, 20), seed=1).run()

    assert (ran.score.lost, ran.score.violations, ran.codes) == (0, 0.0, {})
    assert ran.score.accuracy == pytest.approx(0.7)
    assert ran.variants == {QUICK: ran.score.queries}
    assert 10_000 < np.quantile(ran.answered.took_us, 0.5) < 25_000
    assert ran.score.cores == 4.0


def test_world_that_does_not_suffice_says_so_to_each() -> None:
    """At twice what two good lanes carry, about half are answered in time and the others in words."""
    ran = World(fixed({GOOD: 1}), steady(240.0, 20), seed=1).run()

    assert ran.score.lost == 0
    assert 0.4 < ran.score.violations < 0.65
    assert sum(ran.codes.values()) + sum(ran.variants.values()) == ran.score.queries
    assert set(ran.codes) <= {"overloaded", "would_be_late", "deadline_passed"}


def test_world_of_a_seed_is_one_run() -> None:
    """Every answer's moment, and another one's with another seed."""
    first, again, other = (World(fixed({QUICK: 1}), steady(50.0, 8), seed=seed).run() for seed in (3, 3, 4))

    assert np.array_equal(first.answered.took_us, again.answered.took_us)
    assert first.score == again.score
    assert not np.array_equal(first.answered.took_us[:50], other.answered.took_us[:50])


def test_world_with_a_planner_serves_a_step_with_more_machines() -> None:
    """From 40 to 200 queries a second: nothing is lost, and after three seconds 99 % are in time."""
    ran = World(Setup(catalog=catalog(), sites=(SITE,), planner=PLANNER), step(40.0, 200.0, 60), seed=2).run()
    seconds = by_second(ran.answered, step(40.0, 200.0, 60).asks)
    later = [each for each in seconds if each.at_s >= 40]

    assert ran.score.lost == 0
    assert ran.plans > 1
    assert max(each["cpu"] for each in ran.machines[40:]) > max(each["cpu"] for each in ran.machines[5:28])
    assert sum(each.in_time for each in later) >= 0.99 * sum(each.sent for each in later)


def test_world_offline_queries_take_what_is_idle() -> None:
    """They have no deadline; all are answered, and the timed ones are not late for them."""
    scene = steady(40.0, 15)
    both = scene._replace(asks=(*scene.asks, Ask(task="t", priority=0)), qps=np.hstack([scene.qps, scene.qps]))
    ran = World(fixed({QUICK: 2}), both, seed=1).run()

    assert ran.score.offline_done == 1.0
    assert ran.score.violations < 0.01


def test_world_machine_that_leaves_under_load_loses_nothing() -> None:
    """The router goes on choosing it until it hears; what comes too late goes back and is chosen for again."""
    site = msgspec.structs.replace(SITE, first=6, boot_s=0.0)
    slow = Hop(p50_us=20_000, p99_us=40_000)  # so that many are on their way
    setup = Setup(catalog=catalog(), sites=(site,), lanes={"cpu": [{QUICK: 2}]}, hop=slow)
    world = World(setup, steady(150.0, 20), seed=1)
    start_us = world.engine.now_us

    def leave() -> None:
        next(node for node in world._nodes.values() if node.state == "ready").drain()

    for at_s in range(28, 44, 2):
        world.engine.at(start_us + at_s * 1_000_000, leave)
    ran = world.run()

    assert ran.score.lost == 0
    assert ran.score.violations < 0.05
