"""When records leave together, on a clock of its own."""

from __future__ import annotations

from streams.pace import LEAK_US, MANY, Pace


def lingers(gap_us: int, *, count: int = 1, times: int = 200) -> list[bool]:
    """What the pace says of `times` lots of `count` records, `gap_us` apart."""
    pace = Pace()
    return [pace.many(count, now_us=n * gap_us) for n in range(times)]


def test_pace_lone_answers_leave_at_once() -> None:
    """However long it goes on: at 500 a second each would wait for nobody."""
    assert not any(lingers(5_000))
    assert not any(lingers(LEAK_US))


def test_pace_a_burst_leaves_together() -> None:
    """The answers of one batch, also of the first."""
    assert all(lingers(50_000, count=32))
    assert all(lingers(50_000, count=MANY))
    assert not any(lingers(50_000, count=MANY - 1))


def test_pace_a_fast_stream_lingers_and_a_slow_one_no_more() -> None:
    """Records that come one by one, 5,000 a second, are a burst as well; a little after the last it is forgotten."""
    pace = Pace()
    said = [pace.many(1, now_us=n * 200) for n in range(100)]

    assert not any(said[:4])
    assert all(said[10:])
    assert not pace.many(1, now_us=100 * 200 + 8 * LEAK_US)


def test_pace_clock_set_back_changes_nothing() -> None:
    """The wall clock may step: the bucket then leaks nothing, once."""
    pace = Pace()
    pace.many(1, now_us=10**9)

    assert not pace.many(1, now_us=0)
    assert not pace.many(1, now_us=LEAK_US)
