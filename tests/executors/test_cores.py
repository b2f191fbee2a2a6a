"""Cores that several variants share: what is free, when, and for whom."""

from __future__ import annotations

import pytest

from executors.cores import Cores
from executors.rate import Rate


class User:
    """A variant that used so many cores lately."""

    def __init__(self, cores: float) -> None:
        self.used = Rate(1_000_000)
        self.used.add(round(cores * 1e6), now_us=0)


def test_cores_say_when_so_many_are_free() -> None:
    """Of four, one is free now, two at 5 ms, all at 9; a batch that overruns may end at any time."""
    cores = Cores(4)
    cores.start(1, 2, 9_000)
    cores.start(2, 1, 5_000)

    assert [cores.free_at(width, now_us=0) for width in (1, 2, 3, 4)] == [0, 5_000, 9_000, 9_000]
    assert cores.free_at(2, now_us=7_000) == 7_000
    cores.end(1)
    assert (cores.free, cores.free_at(4, now_us=0)) == (3, 5_000)


def test_cores_busy_until_the_first_batch_should_end() -> None:
    """Zero while one is free, and when the batch that holds them is overdue."""
    cores = Cores(2)
    cores.start(1, 1, 4_000)
    assert cores.busy_us(0) == 0
    cores.start(2, 1, 6_000)

    assert (cores.busy_us(1_000), cores.busy_us(9_000)) == (3_000, 0)


def test_cores_share_is_what_others_leave_and_at_least_an_equal_part() -> None:
    """Of four cores: alone all; beside one that uses one, three quarters; beside two that use everything, a third."""
    cores, me, small, large = Cores(4), User(9.0), User(1.0), User(3.0)

    assert cores.share(me, [me], now_us=0) == 1
    assert cores.share(me, [me, User(0)], now_us=0) == 1
    assert cores.share(me, [me, small], now_us=0) == pytest.approx(0.75)
    assert cores.share(me, [me, small, large], now_us=0) == pytest.approx(1 / 3)


def test_cores_expect_a_batch_that_overruns_to_go_on() -> None:
    """Due at 10 ms and still there at 15: 5 ms more; at 30 the other one, due at 40, is expected sooner."""
    cores = Cores(2)
    cores.start(1, 1, 10_000)
    free_us = cores.expected_us(0)
    cores.start(2, 1, 40_000)

    assert free_us == 0
    assert [cores.expected_us(us) for us in (4_000, 10_000, 15_000, 25_000, 30_000)] == [
        6_000,
        0,
        5_000,
        15_000,
        10_000,
    ]
