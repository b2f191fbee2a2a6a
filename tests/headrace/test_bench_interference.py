"""When the interference benchmark says that a lane was routed around, and taken back."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.interference import AWAY, BACK, _first


def stream(*shares: float) -> tuple[np.ndarray, np.ndarray]:
    """Half seconds of a hundred queries each, of which so large a share goes there, evenly spread."""
    there = [round((n + 1) * share) > round(n * share) for share in shares for n in range(100)]
    return np.arange(len(there)) * 5_000, np.array(there)


def first(shares: tuple[float, ...], *, from_s: float = 0.0, low: float = 0.0, high: float = 1.0) -> float | None:
    sent_us, there = stream(*shares)
    return _first(
        sent_us, there, from_us=round(from_s * 1e6), until_us=len(there) * 5_000, low=low, high=high
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shares", "detect_s"),
    [((0.5, 0.5, 0.0, 0.0), 0.9), ((0.0, 0.0, 0.0), 0.0), ((0.5, 0.5, 0.5), None), ((0.5, 0.5, 0.2, 0.2), None)],
)
def test_first_window_in_which_few_go_there(shares: tuple[float, ...], detect_s: float | None) -> None:
    """It may begin a tenth of a second before the change, as a tenth of the queries is allowed in it."""
    assert first(shares, high=AWAY) == detect_s


@pytest.mark.parametrize(("shares", "return_s"), [((0.0, 0.0, 0.0, 0.5), 0.75), ((0.0, 0.0, 0.2, 0.2), None)])
def test_first_window_in_which_enough_go_there(shares: tuple[float, ...], return_s: float | None) -> None:
    """Counted from the first half second on; half of the half is enough."""
    assert first(shares, from_s=0.5, low=BACK) == return_s
