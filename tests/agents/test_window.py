"""Which ids were seen, and where they went."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.window import Window
from tests.agents.builders import T0


def test_seen_second_time_is_a_repeat_of_its_partition() -> None:
    """The same id on another partition is another query."""
    window = Window()

    assert [window.seen(p, "q", now_us=T0) for p in (0, 1, 0)] == [False, False, True]


def test_seen_beyond_the_age_is_new() -> None:
    """A repeat starts the age anew, and keeps where the id went; beyond the age both are forgotten."""
    window = Window(age_max_us=100)
    window.seen(0, "q", now_us=T0)
    window.sent(0, "q", "e")

    assert window.seen(0, "q", now_us=T0 + 90)
    assert window.seen(0, "q", now_us=T0 + 190)
    assert window.executor(0, "q") == "e"
    assert not window.seen(0, "q", now_us=T0 + 291)
    assert window.executor(0, "q") is None


def test_seen_beyond_the_count_forgets_the_least_recent() -> None:
    """Of two places, the repeat keeps one."""
    window = Window(count_max=2)
    for query_id in ("a", "b", "a", "c"):
        window.seen(0, query_id, now_us=T0)

    assert [window.seen(0, query_id, now_us=T0) for query_id in ("a", "b")] == [True, False]


def test_executor_is_where_the_id_went_last() -> None:
    """Unknown ids went nowhere, and are not remembered by being sent."""
    window = Window()
    window.seen(3, "q", now_us=T0)
    before = window.executor(3, "q")
    for name in ("e1", "e2"):
        window.sent(3, "q", name)
    window.sent(3, "other", "e1")

    assert (before, window.executor(3, "q"), window.executor(3, "other")) == (None, "e2", None)


def test_forget_drops_a_partition() -> None:
    """It belongs to another router now."""
    window = Window()
    window.seen(0, "q", now_us=T0)
    window.forget(0)

    assert not window.seen(0, "q", now_us=T0)


def test_seen_nothing_kept_never_repeats() -> None:
    """A window of no places is off."""
    window = Window(count_max=0)

    assert [window.seen(0, "q", now_us=T0) for _ in range(2)] == [False, False]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8), st.integers(0, 40)), max_size=80))
def test_window_equals_a_list_of_everything(events: list[tuple[int, int, int]]) -> None:
    """Against the whole history: seen if among the last four different ids of the partition, and recent enough."""
    window = Window(count_max=4, age_max_us=100)
    history: dict[int, list[tuple[str, int]]] = {0: [], 1: []}
    now_us = T0
    for partition, number, gap_us in events:
        now_us += gap_us
        query_id = str(number)
        ids = history[partition]
        latest = dict(ids)
        kept = sorted(latest, key=lambda name: -max(i for i, (n, _) in enumerate(ids) if n == name))[:4]
        expected = query_id in kept and now_us - latest[query_id] <= 100

        assert window.seen(partition, query_id, now_us=now_us) == expected
        assert len(window) <= 8
        ids.append((query_id, now_us))
