"""A small running system: routers and executors as child processes on a cluster, to be measured or killed.

Children run in sessions of their own; `stop` ends exactly those that were started here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.load import Answers, Load, QueryMaker
from registry.records import Record
from registry.topic import publish
from streams.hearing import Hearing
from streams.records import Telemetry
from streams.settings import KafkaSettings
from streams.topics import create

READY_S = 60.0
STOP_S = 15.0


class NotReady(RuntimeError):
    """The system did not come up in time; the message has the tails of its logs."""


class System:
    """Children by name (`router-0`, `executor-0`, ...)."""

    def __init__(self, kafka: KafkaSettings, records: Iterable[Record], *, log_dir: Path | None = None) -> None:
        self.kafka = kafka
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self._own: dict[str, dict[str, Any]] = {}
        self._made = tempfile.TemporaryDirectory(prefix="headrace-bench-") if log_dir is None else None
        self.log_dir = Path(self._made.name) if self._made else log_dir or Path()
        create(kafka)
        publish(kafka, records)

    def start(self, name: str, **own: Any) -> None:
        """Start a role; its kind is the name up to the dash. A restart without settings takes the last ones."""
        own = self._own[name] = own or self._own.get(name, {})
        role = name.partition("-")[0]
        if role == "router":
            own = {"instance": f"{name}-{len(self.children)}-{time.monotonic_ns() % 10**6}", **own}
        given = {"kafka": self.kafka.model_dump(), "own": own}
        with (self.log_dir / f"{name}.log").open("ab") as log:
            self.children[name] = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.role", role, json.dumps(given)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def signal(self, name: str, number: int) -> None:
        os.kill(self.children[name].pid, number)

    def kill(self, name: str) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(name, signal.SIGKILL)
        self.children[name].wait()

    def term(self, name: str, timeout_s: float = STOP_S) -> int:
        """SIGTERM, and wait; returns the exit status (raises subprocess.TimeoutExpired if it hangs)."""
        self.signal(name, signal.SIGTERM)
        return self.children[name].wait(timeout_s)

    def wait_ready(self, executors: int, probe: QueryMaker, *, timeout_s: float = READY_S) -> None:
        """Until that many executors own slots and one probing query is answered `ok`."""
        end = time.monotonic() + timeout_s
        self.wait_fleet(executors, end)
        answers = Answers(self.kafka)
        try:
            load = Load(self.kafka, probe, reply_partition=0)
            while time.monotonic() < end:
                name = load.one({})
                load.flush()
                if not answers.wait_for([name], 2.0) and answers.by_id[name][0].answer.outcome == "ok":
                    return
            raise NotReady(f"no query was answered ok within {timeout_s:g} s\n{self.tails()}")
        finally:
            answers.stop()

    def cpu_s(self, name: str) -> float:
        """User and system time that a child has used so far, from /proc."""
        fields = Path(f"/proc/{self.children[name].pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def fleet(self, seconds: float) -> dict[str, Telemetry]:
        """What every executor said last, heard for `seconds`."""
        heard: dict[str, Telemetry] = {}
        hearing = Hearing(self.kafka, back_ms=0)
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                heard |= {word.executor: word for word in hearing.listen(0.05) if isinstance(word, Telemetry)}
        finally:
            hearing.close()
        return heard

    def wait_fleet(self, executors: int, end: float) -> None:
        """Until that many executors are ready and own slots, at the latest at `end` (monotonic seconds)."""
        while time.monotonic() < end:
            ready = [t for t in self.fleet(0.5).values() if t.state == "ready" and t.slots]
            if len(ready) >= executors:
                return
            gone = {n: c.returncode for n, c in self.children.items() if c.poll() is not None}
            if gone:
                raise NotReady(f"ended at the start: {gone}\n{self.tails()}")
        raise NotReady(f"fewer than {executors} executors came up\n{self.tails()}")

    def tails(self, lines: int = 15) -> str:
        """The last lines of every child's log."""
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
            for path in sorted(self.log_dir.glob("*.log"))
        )

    def stop(self) -> None:
        """Routers first, so that nothing is sent to executors that leave."""
        for name in sorted(self.children, key=lambda n: not n.startswith("router")):
            child = self.children[name]
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    child.terminate()
        end = time.monotonic() + STOP_S
        for child in self.children.values():
            try:
                child.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._made:
            self._made.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
