"""InfAdapter's decisions: its own numbers, by hand where they are small."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.planner_exact import RESNETS
from simulator.baselines.infadapter import SKIPS_MAX, Curve, State, allocation, decide, maxima

TWO = {"fast": Curve(accuracy=0.7, slope=20.0), "good": Curve(accuracy=0.8, slope=5.0)}


def test_capacity_is_four_fifths_of_the_fitted_line_in_whole_queries() -> None:
    """0.8 x (24.446 x 8 - 6) = 151.7."""
    assert RESNETS["resnet18"].capacity(8) == 151
    assert RESNETS["resnet152"].capacity(0) == 0
    assert Curve(accuracy=0.5, slope=1.0, intercept=-6).capacity(2) == 0


def test_allocation_pays_for_accuracy_as_beta_says() -> None:
    """8/s on 6 cores: `good` alone needs 2; with a tenth of the accuracy at stake it is worth any core."""
    assert allocation(8, {}, TWO, budget=6, beta=0.05) == {"good": 2}
    assert allocation(20, {}, TWO, budget=6, beta=0.0) == {"good": 5}


def test_allocation_set_of_variants_beats_one() -> None:
    """40/s on 6 cores: 4 of `good` carry 16, 2 of `fast` 32; `good` alone carries 24, `fast` alone wastes accuracy."""
    assert allocation(40, {}, TWO, budget=6, beta=0.0) == {"good": 4, "fast": 2}


def test_allocation_beyond_everything_gives_all_to_the_fastest() -> None:
    """As the released code does."""
    assert allocation(10_000, {}, TWO, budget=6) == {"fast": 6}


def test_allocation_changes_cost_gamma() -> None:
    """What stands and is as good stays: 5 of `good` serve 8/s too, when cores are free and changes are not."""
    assert allocation(8, {"good": 5}, TWO, budget=6, beta=0.0, gamma=0.01) == {"good": 5}


def test_decide_keeps_a_larger_plan_for_four_decisions() -> None:
    """Then it is made anew; a larger load is planned for at once."""
    first = decide(100.0, State(), RESNETS)
    states = [first]
    for _ in range(SKIPS_MAX + 1):
        states.append(decide(40.0, states[-1], RESNETS))

    assert first.made_for == 110
    assert [each.made_for for each in states] == [110, 110, 110, 110, 110, 44]
    assert decide(150.0, states[1], RESNETS).made_for == 165


@pytest.mark.parametrize(("seconds", "wanted"), [(600, 10), (6_000, 10), (150, 2), (59, 1)])
def test_maxima_are_of_the_last_minutes(seconds: int, wanted: int) -> None:
    """The newest minute is the last 60 s; what is left over at the beginning is not half a minute."""
    history = np.arange(seconds, dtype=np.float64)
    found = maxima(history)

    assert len(found) == wanted
    assert found[-1] == seconds - 1
