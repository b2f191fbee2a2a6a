"""The state folder: one owner at a time, and nothing stale is believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace import state
from headrace.state import AlreadyUp, State, StateUnusable


def of(pid: int, *, ticks: int | None = None) -> State:
    owner = state.process("headrace", pid)
    if ticks is not None:
        owner = state.Process(name="headrace", pid=pid, ticks=ticks)
    return State(bootstrap="127.0.0.1:1", prefix="x.", config=None, local_broker=True, processes=(owner,))


def test_read_own_state_is_what_was_written(tmp_path: Path) -> None:
    """While its owner lives."""
    written = of(os.getpid())
    state.write(tmp_path, written)

    assert state.read(tmp_path) == written
    assert written.processes[0].alive


def test_read_recycled_pid_is_not_believed(tmp_path: Path) -> None:
    """A process of that id which started at another time is somebody else."""
    state.write(tmp_path, of(os.getpid(), ticks=1))

    assert state.read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", '{"bootstrap": 3}'])
def test_read_broken_file_is_no_state(tmp_path: Path, text: str) -> None:
    """Half a file, or one of another version, says nothing."""
    (tmp_path / state.FILE).write_text(text)

    assert state.read(tmp_path) is None


def test_held_twice_second_is_refused_with_the_owner(tmp_path: Path) -> None:
    """Two stacks on one folder would write over each other; the message names the process to stop."""
    with state.held(tmp_path):
        state.write(tmp_path, of(os.getpid()))

        with pytest.raises(AlreadyUp, match=f"as process {os.getpid()}"), state.held(tmp_path):
            pass

        assert state.read(tmp_path) is not None


def test_held_released_removes_state_and_old_logs(tmp_path: Path) -> None:
    """The next owner begins with an empty folder of logs."""
    with state.held(tmp_path) as logs:
        (logs / "router-1.log").write_text("old")
        state.write(tmp_path, of(os.getpid()))
    assert not (tmp_path / state.FILE).exists()

    with state.held(tmp_path) as logs:
        assert list(logs.iterdir()) == []


def test_held_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """With the setting that names another one."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StateUnusable, match=r"set \[up\] state"), state.held(tmp_path / "file"):
        pass
