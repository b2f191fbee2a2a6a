"""Levels from counts: noise is averaged, a burst is not."""

from __future__ import annotations

import pytest

from agents.observed import CLASSES_MAX, WINDOW_S, Observed
from streams.records import Arrivals


def counted(*counts: int, klass: str = "c", begin: int = 100) -> Observed:
    """One count a second, the last of them the present one."""
    observed = Observed()
    for n, count in enumerate(counts):
        observed.add(Arrivals(klass=klass, second=begin + n, partition=0, count=count), now_s=begin + n)
    return observed


def test_levels_are_means_of_the_window() -> None:
    """Of ten seconds, and of fewer where a class is younger."""
    assert counted(*[10, 14] * 5).levels(now_s=109)["c"] == pytest.approx(12.0)
    assert counted(30, 30).levels(now_s=101)["c"] == pytest.approx(30.0)
    assert counted(8).levels(now_s=100)["c"] == pytest.approx(8.0)


def test_levels_a_burst_shows_within_two_seconds() -> None:
    """Threefold: the mean alone would say 24 after one second of it, and 28 after two."""
    assert counted(*[20] * 9, 60).levels(now_s=109)["c"] == pytest.approx(60.0)
    assert counted(*[20] * 8, 52, 70).levels(now_s=109)["c"] == pytest.approx(61.0)
    assert counted(20, *[60] * 9).levels(now_s=109)["c"] == pytest.approx(60.0)


def test_levels_half_as_much_again_is_noise_at_first() -> None:
    """In one second; two of them are surely more."""
    assert counted(*[20] * 9, 30).levels(now_s=109)["c"] == pytest.approx((50 - 50**0.5) / 2)
    assert counted(*[20] * 8, 30, 30).levels(now_s=109)["c"] == pytest.approx((60 - 60**0.5) / 2)
    assert counted(*[20] * 8, 60, 20).levels(now_s=109)["c"] == pytest.approx((80 - 80**0.5) / 2)


def test_levels_a_quarter_of_a_second_shows_a_jump_and_lowers_nothing() -> None:
    """Thirty in it are 120 a second; ten are the forty that were before. The rest of the second may follow."""

    def told(*counts: tuple[int, float]) -> float:
        observed = counted(*[40] * 9)
        for count, part in counts:
            observed.add(Arrivals(klass="c", second=109, partition=0, count=count, part=part), now_s=109)
        return observed.levels(now_s=109)["c"]

    assert told((30, 0.25)) == pytest.approx(120.0)
    assert told((10, 0.25)) == pytest.approx(40.0)
    assert told((30, 0.25), (90, 1.0)) == pytest.approx(120.0)
    assert told((9, 0.01)) < 60


def test_levels_parts_of_a_second_add_up_and_old_ones_go() -> None:
    """Partitions and late readings of one second; a class that ended is not there any more."""
    observed = counted(5)
    observed.add(Arrivals(klass="c", second=100, partition=1, count=7), now_s=100)
    assert observed.levels(now_s=100)["c"] == pytest.approx(12.0)
    assert observed.levels(now_s=101 + WINDOW_S) == {}


def test_news_is_a_class_that_jumped() -> None:
    """By a third of what was known, surely; noise is none, nor what the last look knew already."""
    observed = counted(*[50] * 9)
    observed.levels(now_s=108)
    observed.news = False
    news = []
    for second, partition, count in ((109, 0, 62), (109, 1, 62), (110, 0, 124)):
        observed.add(Arrivals(klass="c", second=second, partition=partition, count=count), now_s=second)
        news.append(observed.news)
        if observed.news:
            observed.levels(now_s=second)
            observed.news = False

    assert news == [False, True, False]


def test_news_is_a_class_that_was_not_there() -> None:
    """Until somebody has looked."""
    observed = counted(5, 5)
    assert observed.news
    observed.news = False
    observed.add(Arrivals(klass="c", second=102, partition=0, count=1), now_s=102)
    assert not observed.news
    observed.add(Arrivals(klass="d", second=102, partition=0, count=1), now_s=102)
    assert observed.news


def test_add_ignores_what_cannot_be_and_what_is_too_much() -> None:
    """A clock that is wrong, a replay of hours ago, and more classes than there is room for."""
    observed = counted(1)
    for second in (50, 200):
        observed.add(Arrivals(klass="x", second=second, partition=0, count=9), now_s=100)
    for n in range(CLASSES_MAX + 5):
        observed.add(Arrivals(klass=f"k{n}", second=100, partition=0, count=1), now_s=100)

    assert "x" not in observed.levels(now_s=100)
    assert len(observed.levels(now_s=100)) == CLASSES_MAX
    observed.forget(before_s=101)
    assert observed.last == {}
