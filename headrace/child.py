"""One role as a child process under the broker's guard: it never outlives us, also when we are killed with -9.

The guard is our child and the role is the guard's, in a session and process group of its own. Orders go over a pipe,
so that no signal ever reaches a process that somebody else started and that was given a recycled id.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from streams.broker import guard
from streams.errors import ServerFault

LOG_TAIL_LINES = 5


class NotStarted(ServerFault):
    """The system did not let us start a process."""

    code, retryable = "process_not_started", False


class Child:
    """A running process; its output is appended to `log`."""

    def __init__(self, command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> None:
        """Start it.

        Raises: NotStarted.
        """
        self.log = log
        with log.open("ab") as errors:
            self._guard = subprocess.Popen(  # noqa: S603 - our own file and our own roles
                [sys.executable, "-I", guard.__file__, str(os.getpid()), str(log), "", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(env),
                start_new_session=True,
            )
        assert self._guard.stdout is not None
        pid = self._guard.stdout.readline()
        if not pid:
            self.wait(timeout_s=5.0)
            raise NotStarted(f"{' '.join(command)} did not start: {self.tail()}")
        self.pid = int(pid)

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs; 128 + n if signal n ended it."""
        return self._guard.poll()

    def terminate(self) -> None:
        """SIGTERM: ask it to drain and end."""
        self._order(b"t")

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self._order(b"k")
        if not self.wait(timeout_s=10.0):
            self._guard.kill()  # and the kernel kills the role with it
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

    def tail(self) -> str:
        """The last lines of its log, for the person who must know why it ended."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def _order(self, order: bytes) -> None:
        assert self._guard.stdin is not None
        if not self._guard.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it has just ended, which is what was asked
                self._guard.stdin.write(order)
                self._guard.stdin.flush()

    def _close(self) -> None:
        for pipe in (self._guard.stdin, self._guard.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
