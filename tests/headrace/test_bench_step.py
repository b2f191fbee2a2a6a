"""What the step benchmark counts: orders that turn round."""

from __future__ import annotations

from benchmarks.step import FLEET, reversals
from headrace.fleet_file import read


def test_reversals_are_counted_by_name() -> None:
    """Up and up is none; up and down is one; what was never there goes up first."""
    assert reversals([{"a": 1}, {"a": 2}, {"a": 3}]) == 0
    assert reversals([{"a": 1}, {"a": 3}, {"a": 2}, {"a": 4}]) == 2
    assert reversals([{"a": 1}, {"a": 1, "b": 2}, {"a": 2}]) == 1
    assert reversals([]) == 0


def test_fleet_of_the_benchmark_is_one() -> None:
    """It is read as any other; the rare task has no machine of its own."""
    fleet = read(FLEET)

    assert set(fleet.pools) == {"cpu"}
    assert {model.task for model in fleet.models.values()} == {"labels", "rare"}
