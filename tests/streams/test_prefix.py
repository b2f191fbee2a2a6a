"""The committed prefix against the plainest possible oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.prefix import Prefix


@st.composite
def runs(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Starts in rising order, with gaps, mixed with finishes of what was started, some of them repeated."""
    steps: list[tuple[str, int]] = []
    offset, started = draw(st.integers(0, 3)), list[int]()
    for start in draw(st.lists(st.booleans(), max_size=40)):
        if start or not started:
            offset += draw(st.integers(1, 3))
            started.append(offset)
            steps.append(("start", offset))
        else:
            steps.append(("finish", draw(st.sampled_from(started))))
    return steps


@given(runs())
def test_prefix_any_order_commits_exactly_the_contiguous_prefix(steps: list[tuple[str, int]]) -> None:
    """After each step the committed offset is one past the longest finished run from the first start."""
    prefix = Prefix(0, fence=0)
    started: list[int] = []
    finished: set[int] = set()
    committed = None
    for what, offset in steps:
        if what == "start":
            prefix.start(offset)
            started.append(offset)
            continue
        told = prefix.finish(offset)
        finished.add(offset)
        done = [n for i, n in enumerate(started) if all(m in finished for m in started[: i + 1])]
        expected = done[-1] + 1 if done else None

        assert told == (expected if expected != committed else None)
        committed = expected
        assert len(prefix) == len(started) - len(done)


def test_prefix_offset_twice_is_a_bug_of_the_caller() -> None:
    """Offsets of one partition only rise within one assignment."""
    prefix = Prefix(0, fence=0)
    prefix.start(5)

    with pytest.raises(AssertionError):
        prefix.start(5)


def test_prefix_finish_of_an_earlier_assignment_is_ignored() -> None:
    """Late completions after a rebalance must not commit anything."""
    prefix = Prefix(0, fence=0)
    prefix.start(10)

    assert prefix.finish(3) is None
    assert prefix.finish(10) == 11
    assert prefix.finish(10) is None
