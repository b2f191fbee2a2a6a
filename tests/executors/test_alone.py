"""Measuring one after the other, and waiting for what others measured only if there were others."""

from __future__ import annotations

import threading
from pathlib import Path

from executors.alone import alone

WAIT_S = 10.0  # for what must come


def test_alone_without_others_waits_for_nobody(tmp_path: Path) -> None:
    """Nor a second time: nothing is left of the first."""
    for _ in range(2):
        with alone(tmp_path / "lock") as waited:
            assert waited is False


def test_alone_behind_another_says_that_it_waited(tmp_path: Path) -> None:
    """The other's profile may then be on its way through the registry."""
    said: list[bool] = []
    came, went = threading.Event(), threading.Event()

    def second() -> None:
        came.set()
        with alone(tmp_path / "lock") as waited:
            said.append(waited)
        went.set()

    with alone(tmp_path / "lock"):
        threading.Thread(target=second, daemon=True).start()
        assert came.wait(WAIT_S)
        assert not went.wait(0.05)
    assert went.wait(WAIT_S)
    assert said == [True]
