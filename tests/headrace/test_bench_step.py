"""What the step benchmark counts: recovery, and orders that turn round."""

from __future__ import annotations

from benchmarks.step import FLEET, Second, recovered_s, reversals
from headrace.fleet_file import read


def test_recovered_is_the_first_of_three_good_seconds() -> None:
    """One good second between bad ones is chance."""
    shares = [80, 100, 90, 99, 100, 99, 50]
    seconds = [Second(n, 100, in_time) for n, in_time in enumerate(shares)]

    assert recovered_s(seconds) == 3.0
    assert recovered_s(seconds[:5]) is None


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
