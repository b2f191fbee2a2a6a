"""What runs in this working directory, in a small file, so that other terminals find it; and one owner at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streams.errors import ClientFault, ServerFault

FILE, LOCK, LOGS = "state.json", "lock", "logs"


class AlreadyUp(ClientFault):
    """Another `headrace up` or `demo` runs on this state folder."""

    code = "already_up"


class StateUnusable(ServerFault):
    """The state folder cannot be written."""

    code, retryable = "state_unusable", False


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process; `ticks` is its start time as the kernel counts, which tells it from a later one of the same pid."""

    name: str
    pid: int | None
    ticks: int = 0
    port: int = 0
    restarts: int = 0
    given_up: bool = False
    log: str = ""

    @property
    def alive(self) -> bool:
        return self.pid is not None and start_ticks(self.pid) == self.ticks


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one `headrace up` started; the first process is itself."""

    bootstrap: str
    prefix: str
    config: str | None
    local_broker: bool
    pools: tuple[str, ...] = ()
    fleet: str | None = None  # the file, if the fleet is emulated
    processes: tuple[Process, ...] = ()


def read(folder: Path) -> State | None:
    """The state that was written last; None if there is none, or its owner is gone or was of another version."""
    try:
        state = msgspec.json.decode((folder / FILE).read_bytes(), type=State)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return state if state.processes and state.processes[0].alive else None


def write(folder: Path, state: State) -> None:
    """Replace the state in one step, so that no reader sees half of it."""
    fresh = folder / f"{FILE}.new"
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
    fresh.replace(folder / FILE)


@contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Own the folder; the kernel ends the ownership with this process. Yields the folder of its logs, emptied.

    Raises: AlreadyUp, StateUnusable.
    """
    try:
        (folder / LOGS).mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as denied:
        raise StateUnusable(f"{folder} cannot be written: {denied.strerror}; set [up] state") from denied
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = read(folder)
            who = f" as process {owner.processes[0].pid}" if owner else ""
            raise AlreadyUp(
                f"a Headrace is already up in {folder}{who}: stop it, or set [up] state to another folder"
            ) from None
        for old in (folder / LOGS).glob("*.log"):
            old.unlink()
        try:
            yield folder / LOGS
        finally:
            (folder / FILE).unlink(missing_ok=True)
    finally:
        os.close(lock)


def process(name: str, pid: int | None, **facts: int | bool | str) -> Process:
    """A process as it is now."""
    known = {"name": name, "pid": pid, "ticks": 0 if pid is None else start_ticks(pid), **facts}
    return msgspec.convert(known, Process)


def start_ticks(pid: int) -> int:
    """When a process started, in the kernel's ticks since boot; 0 if there is none (a zombie counts as none)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    state, *rest = stat.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    return 0 if state in "ZX" else int(rest[18])
