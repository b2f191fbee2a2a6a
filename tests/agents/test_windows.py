"""Each second once: late, repeated, strange and lost records, and restarts at every moment."""

from __future__ import annotations

import numpy as np
import pytest

from agents.windows import AHEAD_S, CATCH_UP_MAX, LATE_S, Windows
from streams.records import Arrivals

T0 = 1_700_000_000


def arrivals(second: int, count: int = 1, klass: str = "a", partition: int = 0) -> Arrivals:
    return Arrivals(klass=klass, second=T0 + second, partition=partition, count=count)


def closed(windows: Windows, now: int) -> list[tuple[int, dict[str, int]]]:
    return [(second - T0, counts) for second, counts in windows.due(T0 + now)]


def test_due_adds_partitions_and_repeats_up_and_waits_for_the_late() -> None:
    """A second is closed LATE_S after it; silent seconds are too."""
    windows = Windows()
    for offset, one in enumerate([arrivals(0, 2), arrivals(0, 3, partition=1), arrivals(0, 1, "b"), arrivals(2)]):
        windows.add(one, partition=0, offset=offset, now_s=T0)

    assert closed(windows, LATE_S) == []
    assert closed(windows, LATE_S + 1) == [(0, {"a": 5, "b": 1})]
    assert closed(windows, LATE_S + 3) == [(1, {}), (2, {"a": 1})]


def test_add_after_the_close_is_late_and_far_ahead_is_strange() -> None:
    """Both are counted apart, and never as load."""
    windows = Windows(begin=T0 + 10)
    windows.add(arrivals(9, 4), partition=0, offset=0, now_s=T0 + 10)
    windows.add(arrivals(10 + AHEAD_S + 1, 7), partition=0, offset=1, now_s=T0 + 10)

    assert (windows.late, windows.ahead) == (4, 7)
    assert closed(windows, 14) == [(10, {})]


def test_due_nothing_was_ever_heard() -> None:
    """No zeros are invented before the first record."""
    assert closed(Windows(), 1_000) == []


def test_due_catches_up_in_bounded_steps() -> None:
    """After a long sleep."""
    windows = Windows(begin=T0)

    assert len(closed(windows, 10_000)) == CATCH_UP_MAX
    assert windows.next == T0 + CATCH_UP_MAX


@pytest.mark.parametrize("seed", range(20))
def test_restarts_lose_and_double_nothing(seed: int) -> None:
    """Stopped at any moment and resumed from what was stored, the closed seconds are those of a run without stops."""
    rng = np.random.default_rng(seed)
    records = [
        (second + int(rng.integers(1, LATE_S)), arrivals(second, int(rng.integers(1, 9)), partition=partition))
        for second in range(120)
        for partition in range(3)
        for _ in range(int(rng.integers(0, 3)))
    ]
    records.sort(key=lambda each: each[0])

    def run(stops: set[int]) -> dict[int, dict[str, int]]:
        windows, at, total = Windows(begin=T0), 0, dict[int, dict[str, int]]()
        for now in range(140):
            while at < len(records) and records[at][0] <= now:
                windows.add(records[at][1], partition=0, offset=at, now_s=T0 + now)
                at += 1
            for second, counts in windows.due(T0 + now):
                assert second not in total
                total[second] = counts
            if now in stops:
                at = windows.resume({0: at})[0]
                windows = Windows(begin=windows.next)
        return total

    without = run(set())
    assert run(set(rng.integers(0, 140, 12).tolist())) == without
    assert sum(sum(counts.values()) for counts in without.values()) == sum(one.count for _, one in records)
