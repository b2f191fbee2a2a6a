"""The guard, with `sleep` on the lead: whatever dies, the child goes with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from streams.child import Child, NotStarted

SLEEP = ["sleep", "600"]
PARENT = """
import os, sys, time
from pathlib import Path
from streams.child import Child
folder = Path(sys.argv[1])
process = Child(["sleep", "600"], log=folder / "log", discard=folder)
if sys.argv[2] == "fork" and os.fork() == 0:  # holds the guard's pipe open after its parent's death
    time.sleep(600)
print(process.pid, process.guard_pid, flush=True)
time.sleep(600)
"""


def gone(*pids: int, within_s: float = 10.0) -> bool:
    """Whether all these processes ended in time."""
    deadline = time.monotonic() + within_s
    while any(running(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_guard_orders_stop_and_kill(tmp_path: Path) -> None:
    """`terminate` and `kill` each end the child, and the guard with it."""
    for end in (Child.terminate, Child.kill):
        process = Child(SLEEP, log=tmp_path / "log")
        assert process.status is None

        end(process)

        assert process.wait(timeout_s=10)
        assert gone(process.pid, process.guard_pid)


@pytest.mark.parametrize("child", ["none", "fork"])
def test_guard_parent_killed_ends_the_child_and_its_folder(tmp_path: Path, child: str) -> None:
    """After kill -9 of the parent nothing runs and nothing lies about, also if a fork of it lives on."""
    folder = tmp_path / "broker" / "node-0"
    folder.mkdir(parents=True)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder), child], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert all(running(pid) for pid in pids)

    parent.kill()
    parent.wait()

    ended = gone(*pids)
    if child == "fork":
        os.killpg(parent.pid, signal.SIGKILL)
    parent.stdout.close()
    assert ended
    assert not folder.parent.exists()


def test_guard_killed_takes_the_child_with_it(tmp_path: Path) -> None:
    """Kill -9 of the guard itself: the kernel ends the child."""
    process = Child(SLEEP, log=tmp_path / "log")

    os.kill(process.guard_pid, signal.SIGKILL)

    assert process.wait(timeout_s=10)
    assert gone(process.pid)


def test_guard_child_in_a_group_of_its_own(tmp_path: Path) -> None:
    """A terminal's Ctrl-C reaches neither the child nor the guard."""
    process = Child(SLEEP, log=tmp_path / "log")

    groups = {os.getpgid(pid) for pid in (0, process.pid, process.guard_pid)}

    process.kill()
    assert len(groups) == 3


def test_guard_command_that_cannot_start_is_reported(tmp_path: Path) -> None:
    """The error names the command and carries the log."""
    with pytest.raises(NotStarted, match=r"/no/such/java did not start:\n(.|\n)*FileNotFoundError"):
        Child(["/no/such/java"], log=tmp_path / "log")
