"""What a run came to: shares, means, and how long it took to recover, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.loads import Ask
from simulator.scores import Answered, Second, by_second, jump_s, recovered_s, score

ASKS = (Ask(task="a", slo_ms=100), Ask(task="a", priority=0))
SIZES = {"cpu": (2, 0.1), "gpu": (4, 1.0)}
NAN = float("nan")


def answered(*rows: tuple[float, int, int, float]) -> Answered:
    """Rows of (at s, class, took ms or -1, accuracy or NaN)."""
    at, kind, took, accuracy = (np.array(column) for column in zip(*rows, strict=True))
    return Answered(
        at_s=at,
        kind=kind.astype(np.int64),
        took_us=np.where(took < 0, -1, took * 1_000).astype(np.int64),
        accuracy=accuracy,
    )


def test_score_counts_late_refused_and_lost_as_violations() -> None:
    """One of each, and two in time; the offline one is in time whenever it is answered."""
    found = score(
        "x",
        answered(
            (0.1, 0, 50, 0.7), (0.2, 0, 99, 0.9), (0.3, 0, 101, 0.9), (0.4, 0, 20, NAN), (0.5, 0, -1, NAN),
            (0.6, 1, 9_000, 0.9), (0.7, 1, -1, NAN),
        ),
        ASKS, [{"cpu": 1}, {"cpu": 2, "gpu": 1}], SIZES, jump_s=0,
    )  # fmt: skip

    assert (found.queries, found.lost) == (5, 1)
    assert found.violations == pytest.approx(0.6)
    assert found.accuracy == pytest.approx(0.8)
    assert found.cores == pytest.approx(5.0)
    assert found.usd_hour == pytest.approx(0.65)
    assert found.offline_done == 0.5


def test_score_without_offline_queries_or_answers() -> None:
    """No share of nothing."""
    found = score("x", answered((0.0, 0, -1, NAN)), ASKS, [], SIZES, jump_s=0)

    assert (found.violations, found.accuracy, found.offline_done, found.cores) == (1.0, 0.0, None, 0.0)


def test_by_second_leaves_offline_queries_out() -> None:
    """And knows seconds without a query."""
    rows = answered((0.1, 0, 50, 0.7), (0.9, 1, 50, 0.7), (2.5, 0, 150, 0.7))

    assert by_second(rows, ASKS) == [Second(0, 1, 1), Second(1, 0, 0), Second(2, 1, 0)]


@pytest.mark.parametrize(
    ("good", "since", "wanted"),
    [("1111", 0, 0), ("100111", 0, 3), ("100111", 1, 2), ("110110", 0, None), ("1", 0, None)],
)
def test_recovered_is_the_first_of_three_good_seconds(good: str, since: int, wanted: float | None) -> None:
    """Counted from the jump."""
    seconds = [Second(n, 100, 99 if each == "1" else 98) for n, each in enumerate(good)]

    assert recovered_s(seconds, since_s=since) == wanted


def test_jump_is_where_the_load_rises_most() -> None:
    """Not where it falls, nor at a lone tall second."""
    total = np.full(100, 10.0)
    total[20:60] = 40.0
    total[70] = 60.0

    assert jump_s(total) == pytest.approx(20, abs=4)
    assert jump_s(np.full(3, 1.0)) == 0
