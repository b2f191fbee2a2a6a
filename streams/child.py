"""A child process under a guard: it never outlives us, also when we are killed with -9.

The guard is our child and the process is the guard's, in a process group of its own. Orders go over a pipe, so that no
signal ever reaches a process that somebody else started and that was given a recycled id.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from streams.errors import ServerFault

TAIL_LINES = 5
SIGNALS_FROM = 128  # an exit status above it is a signal
_GUARD = Path(__file__).with_name("guard.py")


class NotStarted(ServerFault):
    """The system did not let us start a process."""

    code, retryable = "process_not_started", False


class Child:
    """A running process; its output is appended to `log`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        discard: Path | None = None,
        lock_fd: int | None = None,
    ) -> None:
        """Start `command`.

        `discard` is a folder to remove if we die without a stop. `lock_fd` stays open until the process has ended.
        Raises: NotStarted.
        """
        self.log = log
        with log.open("ab") as errors:
            self._guard = subprocess.Popen(  # noqa: S603 - our own file, and commands of ours
                [sys.executable, "-I", str(_GUARD), str(os.getpid()), str(log), str(discard or ""), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=None if env is None else dict(env),
                start_new_session=True,
                pass_fds=() if lock_fd is None else (lock_fd,),
            )
        assert self._guard.stdout is not None
        pid = self._guard.stdout.readline()
        if not pid:
            self.wait(timeout_s=5.0)
            raise NotStarted(f"{command[0]} did not start:\n{self.tail()}")
        self.pid = int(pid)

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs; 128 + n if signal n ended it."""
        return self._guard.poll()

    @property
    def signal(self) -> int | None:
        """The signal that ended it, if one did."""
        status = self.status or 0
        return status - SIGNALS_FROM if status > SIGNALS_FROM else None

    def terminate(self) -> None:
        """SIGTERM: ask it to end; `wait` tells whether it did."""
        self._order(b"t")

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self._order(b"k")
        if not self.wait(timeout_s=10.0):
            self._guard.kill()  # and the kernel kills the process with it
            self._guard.wait()
            self._close()

    def wait(self, *, timeout_s: float) -> bool:
        """Whether it ended in time."""
        try:
            self._guard.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired:
            return False
        self._close()
        return True

    def ends_within(self, timeout_s: float) -> bool:
        """Whether it ended by itself in time; else it is killed, also when this wait is interrupted."""
        try:
            return self.wait(timeout_s=timeout_s)
        finally:
            if self.status is None:
                self.kill()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of its log, for the person who must know why it ended."""
        return tail(self.log, lines)

    def _order(self, order: bytes) -> None:
        assert self._guard.stdin is not None
        if not self._guard.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it has just ended, which is what was asked
                self._guard.stdin.write(order)
                self._guard.stdin.flush()

    def _close(self) -> None:
        for pipe in (self._guard.stdin, self._guard.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # an unsent order to what has ended
                    pipe.close()


def tail(log: Path, lines: int) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
