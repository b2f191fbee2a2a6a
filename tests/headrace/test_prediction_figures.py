"""The figures of `bench prediction`, from profiles that a test makes up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.prediction import Twice, compared, menu, shown
from examples.store import default_out
from registry.latency import Point
from registry.manifest import MANIFEST
from tests.executors.models import variant

SIZES = (1, 2, 4, 8, 16, 32, 64)


def twice(name: str, *, noise: float, seed: int, bump: float = 0.0) -> Twice:
    """5 ms + 1 ms an item, read twice with noise; `bump` makes the sizes in the middle slower than any curve says."""
    rng = np.random.default_rng(seed)

    def read() -> dict[int, Point]:
        made = {}
        for size in SIZES:
            us = (5_000 + 1_000 * size) * math.exp(rng.normal(0, noise)) * (1 + bump * (size in (4, 16, 32)))
            made[size] = Point(batch=size, p50_us=round(us), p99_us=round(1.3 * us))
        return made

    operators = {1: {"a": 6_000.0}, 64: {"a": 69_000.0}}
    return Twice(variant=variant(name=name), first=read(), second=read(), operators=operators, disturbed=0.1)


def test_compared_without_noise_nothing_is_wrong() -> None:
    """A law that the predictor knows, read exactly twice."""
    got = compared([twice(f"v{n}", noise=0.0, seed=n) for n in range(4)])

    assert shown(twice("v", noise=0.0, seed=0)) == (1, 2, 8, 64)
    assert (got["reprofiled_points"], got["predicted_points"]) == (28, 12)
    assert got["reprofile_error_median"] == got["reprofile_error_p90"] == 0.0
    assert got["predicted_error_median"] <= 0.001
    assert got["operators_alone_error_median"] <= 0.001
    assert got["predicted_covered"] == 1.0
    assert got["others_share_median"] == 0.1


def test_compared_noise_is_told_by_the_two_profiles() -> None:
    """The floor grows with the noise, and what is predicted cannot be better than half of it."""
    got = compared([twice(f"v{n}", noise=0.2, seed=n) for n in range(8)])

    assert 0.1 <= got["reprofile_error_median"] <= 0.4
    assert got["predicted_error_median"] >= got["reprofile_error_median"] / 2


def test_compared_law_that_no_curve_follows_is_missed_and_the_figures_say_so() -> None:
    """Hidden points 50 % above their neighbours come out about a third too low."""
    got = compared([twice(f"v{n}", noise=0.0, seed=n, bump=0.5) for n in range(4)])

    assert got["reprofile_error_median"] == 0.0
    assert got["predicted_error_median"] == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.models
def test_menu_has_the_examples_at_every_width() -> None:
    """What is profiled when no variants were generated."""
    if not any(default_out().glob(f"*/{MANIFEST}")):
        pytest.skip("the examples are not built: python -m examples.build")

    items = menu()

    assert len({item.variant.name for item in items}) == len(items)
    assert all(item.variant.model == item.model.name for item in items)
