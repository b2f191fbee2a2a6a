"""Which targets stay loaded while nobody asks for them, by each policy."""

from __future__ import annotations

import pytest

from agents.warmth import BINS, TARGETS_MAX, Policy, Warmth, representative

MINUTE, HOUR = 60, 3_600
T0 = 1_000 * HOUR


def klass(name: str, *, level: str = "task", prio: int = 5) -> str:
    return f"{level}={name} slo=100 acc=0 cost=any prio={prio}"


def asked_every(gap_s: int, *, until_s: int = T0, times: int = 20, policy: Policy = "histogram") -> Warmth:
    """Task `t` was asked for so many times, the last time at `until_s`."""
    warmth = Warmth(policy, keep_s=600.0)
    for n in range(times, -1, -1):
        warmth.asked({klass("t"): until_s - n * gap_s})
    return warmth


def kept(warmth: Warmth, now_s: int) -> bool:
    return warmth.warm(now_s=now_s) == ("task=t",)


def test_always_is_every_task_and_never_is_none() -> None:
    """Whatever was asked for."""
    assert asked_every(60, policy="always").warm(now_s=T0 + HOUR) is None
    assert asked_every(60, policy="never").warm(now_s=T0) == ()


def test_idle_keeps_for_the_time_after_the_last_query() -> None:
    """A query within it begins it anew; each target by itself."""
    warmth = Warmth("idle", keep_s=600.0)
    warmth.asked({klass("a"): T0, klass("b", level="model"): T0 + 100})
    assert warmth.warm(now_s=T0 + 600) == ("model=b", "task=a")
    assert warmth.warm(now_s=T0 + 601) == ("model=b",)

    warmth.asked({klass("a"): T0 + 650, klass("a", prio=9): T0 + 640})
    assert warmth.warm(now_s=T0 + 1_250) == ("task=a",)
    assert warmth.warm(now_s=T0 + 1_251) == ()


def test_idle_offline_classes_keep_nothing() -> None:
    """They wait for idle capacity, and none is kept for them."""
    warmth = Warmth("idle", keep_s=600.0)
    warmth.asked({klass("a", prio=0): T0, "other": T0})

    assert warmth.warm(now_s=T0) == ()


def test_histogram_unloads_after_a_query_and_loads_before_the_next() -> None:
    """Asked for every 20 minutes: loaded from 19.5 minutes after a query to 21, less the time of a load."""
    warmth = asked_every(20 * MINUTE)

    assert not kept(warmth, T0 + 5 * MINUTE)
    assert not kept(warmth, T0 + 19 * MINUTE + 29)
    assert kept(warmth, T0 + 19 * MINUTE + 30)
    assert kept(warmth, T0 + 21 * MINUTE)
    assert not kept(warmth, T0 + 21 * MINUTE + 1)


def test_histogram_short_idle_times_are_waited_for() -> None:
    """Asked for every minute: not unloaded for that, and let go after two minutes without a query."""
    warmth = asked_every(MINUTE)

    assert kept(warmth, T0 + 10)
    assert kept(warmth, T0 + 2 * MINUTE)
    assert not kept(warmth, T0 + 2 * MINUTE + 1)


def test_histogram_follows_the_last_hour_beside_the_day() -> None:
    """Hours of 30 minutes between queries, then of 4: the windows lie between those of the two."""
    warmth = asked_every(30 * MINUTE, until_s=T0 - 2 * HOUR)
    for n in range(30):
        warmth.asked({klass("t"): T0 - 2 * HOUR + (n + 1) * 4 * MINUTE})
    last = T0 - 2 * HOUR + 30 * 4 * MINUTE

    assert kept(warmth, last + 10 * MINUTE)  # the hour alone would have let it go after 5
    assert not kept(warmth, last + 20 * MINUTE)  # and the day alone after 31


@pytest.mark.parametrize("times", [0, 5])
def test_histogram_of_few_idle_times_is_the_fixed_window(times: int) -> None:
    """Five of 20 minutes say nothing: kept for `keep_s`, not before the next one."""
    warmth = asked_every(20 * MINUTE, times=times)

    assert kept(warmth, T0 + 600)
    assert not kept(warmth, T0 + 601)
    assert not kept(warmth, T0 + 20 * MINUTE)


def test_histogram_idle_times_beyond_its_range_are_the_fixed_window() -> None:
    """Five hours each: they are counted, and none is in a bin."""
    warmth = asked_every(5 * HOUR)

    assert kept(warmth, T0 + 600)
    assert not kept(warmth, T0 + 601)


def test_histogram_load_without_a_pause_is_no_idle_time() -> None:
    """A query each second for an hour, then one pause: the fixed window."""
    warmth = asked_every(1, times=3_600)

    assert kept(warmth, T0 + 600)
    assert not kept(warmth, T0 + 601)


def test_histogram_forgets_after_a_day() -> None:
    """What is older than 24 hours says nothing any more."""
    warmth = asked_every(20 * MINUTE, until_s=T0 - 25 * HOUR)
    warmth.asked({klass("t"): T0})

    assert kept(warmth, T0 + 600)
    assert not kept(warmth, T0 + 601)


def test_representative_is_neither_few_nor_beyond_nor_uniform() -> None:
    """One peak is; a count in each bin is not."""
    assert representative({20: 10})
    assert not representative({20: 9})
    assert not representative({20: 9, BINS: 10})
    assert not representative(dict.fromkeys(range(BINS), 3))


def test_targets_are_bounded_the_idlest_goes() -> None:
    """And an older one never takes the place of a newer."""
    warmth = Warmth("idle", keep_s=1e6)
    warmth.asked({klass(f"k{n}"): T0 + n for n in range(TARGETS_MAX)})
    warmth.asked({klass("new"): T0 + HOUR})
    warmth.asked({klass("old"): T0 - 1})
    warm = warmth.warm(now_s=T0)

    assert warm is not None
    assert len(warm) == TARGETS_MAX
    assert "task=new" in warm
    assert "task=k0" not in warm
    assert "task=old" not in warm
