"""InfAdapter's loop as a running system, and what a shorter sleep is worth on the burst that it was shown on."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.burst import LOAD_S as RESIDENT_S
from benchmarks.burst import fleet, scene_of
from benchmarks.forecast import found
from benchmarks.planner_exact import RESNETS
from headrace.fleet_records import catalog_of
from headrace.simulating.file import sites_of
from simulator.baselines.infadapter import BUDGET
from simulator.loop import Looping
from simulator.node import Knobs
from simulator.world import Ran, Setup, World

LOAD_S = {name: curve.load_s for name, curve in RESNETS.items()}


def looped(path: Path, *, period_s: float, load_s: dict[str, float], seconds: int = 600, warm_s: float = 20.0) -> Ran:
    """The steepest stretch of the trace; the first decision is for the ten minutes before it."""
    scene, before = scene_of(path, seconds)
    wide = fleet(cores=2 * BUDGET, first=1, most=1, load_s=load_s)
    menu = {f"{name}/emulated-fp32-cpu": curve for name, curve in RESNETS.items()}
    setup = Setup(
        catalog=catalog_of(wide), sites=sites_of(wide), warm_s=warm_s, executor=Knobs(together=True),
        loop=Looping(menu=menu, period_s=period_s, before=tuple(before.tolist())),
    )  # fmt: skip
    return World(setup, scene, seed=1).run()


@pytest.fixture
def trace() -> Path:
    path = found()
    if path is None:
        pytest.skip("HEADRACE_TRACE names no trace, and there is none beside the checkout")
    return path


def test_loop_with_resident_variants_ends_the_burst(trace: Path) -> None:
    """A second's sleep and activation within seconds, against 30 s and loads of 6 to 9 s."""
    slow = looped(trace, period_s=30.0, load_s=LOAD_S, seconds=300)
    quick = looped(trace, period_s=1.0, load_s=RESIDENT_S, seconds=300)

    assert (slow.score.lost, quick.score.lost) == (0, 0)
    assert slow.score.violations > 0.01
    assert quick.score.violations < 0.2 * slow.score.violations
    assert all(10 < (ran.paid_cores or 0) <= BUDGET for ran in (slow, quick))


@pytest.mark.slow
def test_loop_that_sleeps_less_misses_less(trace: Path) -> None:
    """30, 10, 5 and 1 s, and 1 s with resident variants, in this order; means over where in its sleep a loop is."""
    ways = [(period_s, LOAD_S) for period_s in (30.0, 10.0, 5.0, 1.0)] + [(1.0, RESIDENT_S)]
    missed = [
        sum(looped(trace, period_s=p, load_s=load_s, warm_s=20.0 + 7 * n).score.violations for n in range(4)) / 4
        for p, load_s in ways
    ]

    assert missed == sorted(missed, reverse=True), missed
