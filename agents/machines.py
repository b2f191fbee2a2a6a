"""Machines of a pool as executor processes on this one: the local provisioner's side that starts and stops.

They end with us, whatever ends us (streams/child.py), so that none is ever left behind.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from streams.child import Child

log = logging.getLogger(__name__)


class Ended(NamedTuple):
    """A machine that is no more; `told`: it was asked to."""

    name: str
    told: bool
    status: int
    last_lines: str


class Machines(Protocol):
    """What a provisioner asks of those who keep machines; none of it blocks for long."""

    def start(self, name: str) -> None:
        """Raises: ServerFault if the machine cannot be started."""

    def drain(self, name: str) -> None:
        """Let it finish what it has, and end."""

    def kill(self, name: str) -> None: ...

    def ended(self) -> list[Ended]:
        """Which ended since the last call."""

    def close(self) -> None:
        """End all of them."""


class LocalMachines:
    """Executor processes with `cores` CPUs each: a set of its own, as long as this machine has enough."""

    def __init__(
        self, *, pool: str, cores: int, env: Mapping[str, str], logs: Path, stop_s: float, cpus: tuple[int, ...] = ()
    ) -> None:
        """`env` is what an executor reads its settings from; `cpus` are this machine's, unset: those we may use."""
        self._pool, self._cores, self._env, self._logs, self._stop_s = pool, cores, dict(env), logs, stop_s
        free = list(cpus or sorted(os.sched_getaffinity(0)))
        self._sets = [tuple(free[at : at + cores]) for at in range(0, len(free) - cores + 1, cores)]
        self._children: dict[str, Child] = {}
        self._taken: dict[str, tuple[int, ...]] = {}
        self._told: set[str] = set()
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str) -> None:
        taken = set(self._taken.values())
        own = next((cpus for cpus in self._sets if cpus not in taken), ())
        env = {
            **self._env,
            "HEADRACE_EXECUTOR__INSTANCE": name,
            "HEADRACE_EXECUTOR__POOL": self._pool,
            "HEADRACE_EXECUTOR__CORES": str(self._cores),
            "HEADRACE_EXECUTOR__CPUS": str(list(own)),
        }
        command = (sys.executable, "-P", "-m", "headrace", "executor")
        self._children[name] = Child(command, log=self._logs / f"{name}.log", env=env)
        if own:
            self._taken[name] = own
        log.info("machine started", extra={"machine": name, "pid": self._children[name].pid, "cpus": own})

    def drain(self, name: str) -> None:
        if name in self._children:
            self._told.add(name)
            self._children[name].terminate()

    def kill(self, name: str) -> None:
        if name in self._children:
            self._told.add(name)
            self._children[name].kill()

    def ended(self) -> list[Ended]:
        gone: list[Ended] = []
        for name, child in list(self._children.items()):
            status = child.status
            if status is None:
                continue
            child.wait(timeout_s=0.0)
            gone.append(Ended(name, name in self._told, status, child.tail()))
            del self._children[name]
            self._taken.pop(name, None)
            self._told.discard(name)
        return gone

    def close(self) -> None:
        for name in list(self._children):
            self.drain(name)
        end = time.monotonic() + self._stop_s
        for child in self._children.values():
            if not child.wait(timeout_s=end - time.monotonic()):
                child.kill()
        self.ended()
