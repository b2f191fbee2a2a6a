"""Runs roles as child processes: restarts what crashes, within bounds, and stops everything in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from streams.child import Child, NotStarted
from streams.clock import Micros
from streams.restarts import GiveUp, RestartAt, Restarts

log = logging.getLogger(__name__)

LOOK_S = 0.1


class Role(NamedTuple):
    """One process to keep running. Roles with a lower `stage` stop first."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    stage: int = 0
    port: int = 0  # of its metrics and health; 0: none


class Running(NamedTuple):
    """What a look at one role shows; `pid` is None while it is down."""

    name: str
    pid: int | None
    restarts: int
    port: int
    log: Path
    given_up: bool


class Supervisor(threading.Thread):
    """Keeps `roles` running until `stop`; `changed` is called in its thread after every start, end and surrender."""

    def __init__(
        self,
        roles: Sequence[Role],
        *,
        logs: Path,
        restarts_max: int,
        stop_s: float,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name="supervisor", daemon=True)
        self._slots = [_Slot(role, logs / f"{role.name}.log", restarts_max) for role in roles]
        self._stop_s = stop_s
        self._changed = changed
        self._lock = threading.Lock()
        self._stop_requested = threading.Event()

    def running(self) -> list[Running]:
        """A look at every role."""
        with self._lock:
            return [slot.look() for slot in self._slots]

    def kill(self, name: str) -> int | None:
        """Kill -9 one role, as an accident would; it is restarted. Returns its pid, None if it was down."""
        with self._lock:
            child = next(slot for slot in self._slots if slot.role.name == name).child
            if child is None:
                return None
            child.kill()
            return child.pid

    def launch(self) -> None:
        """Start every role once, then watch them in a thread.

        Raises: NotStarted; what was started before is then stopped again.
        """
        try:
            with self._lock:
                for slot in self._slots:
                    slot.start()
        except BaseException:
            self.stop()
            raise
        self._changed()
        self.start()

    def stop(self) -> list[str]:
        """Stop all, stage by stage; returns the names of those that did not drain in time and were killed."""
        self._stop_requested.set()
        if self.is_alive():
            self.join()
        killed: list[str] = []
        for stage in sorted({slot.role.stage for slot in self._slots}):
            slots = [slot for slot in self._slots if slot.role.stage == stage and slot.child is not None]
            for slot in slots:
                assert slot.child is not None
                slot.child.terminate()
            deadline = time.monotonic() + self._stop_s
            for slot in slots:
                assert slot.child is not None
                if not slot.child.wait(timeout_s=deadline - time.monotonic()):
                    slot.child.kill()
                    killed.append(slot.role.name)
                    log.warning("did not drain in time, killed", extra={"role": slot.role.name})
                slot.child = None
        self._changed()
        return killed

    def run(self) -> None:
        while not self._stop_requested.wait(LOOK_S):
            with self._lock:
                changes = [slot.turn(now_us=Micros(time.monotonic_ns() // 1_000)) for slot in self._slots]
            if any(changes):
                self._changed()


class _Slot:
    """One role's place: its process, if any, and when the next one is due."""

    def __init__(self, role: Role, log_file: Path, restarts_max: int) -> None:
        self.role = role
        self.child: Child | None = None
        self._log = log_file
        self._restarts = Restarts(restarts_max=restarts_max)
        self._due_us: Micros | None = None
        self._started = 0
        self._given_up = False

    def start(self) -> None:
        self.child = Child(self.role.command, log=self._log, env=self.role.env)
        self._started += 1
        self._due_us = None
        log.info("started", extra={"role": self.role.name, "pid": self.child.pid, "times": self._started})

    def turn(self, *, now_us: Micros) -> bool:
        """Take note of an end, or start again when it is time; returns whether anything changed."""
        if self.child is None:
            if self._due_us is None or now_us < self._due_us:
                return False
            try:
                self.start()
            except NotStarted as refused:
                self._ended(now_us, {"error": refused.message})
            return True
        status = self.child.status
        if status is None:
            return False
        self.child.wait(timeout_s=0.0)
        self._ended(now_us, {"pid": self.child.pid, "status": status, "last_lines": self.child.tail()})
        self.child = None
        return True

    def look(self) -> Running:
        pid = None if self.child is None or self.child.status is not None else self.child.pid
        return Running(self.role.name, pid, max(0, self._started - 1), self.role.port, self._log, self._given_up)

    def _ended(self, now_us: Micros, how: dict[str, object]) -> None:
        fields = {"role": self.role.name, **how, "log": str(self._log)}
        match self._restarts.ended(now_us=now_us):
            case RestartAt(at_us):
                self._due_us = at_us
                log.warning("ended, will be started again", extra=fields)
            case GiveUp(ends):
                self._due_us, self._given_up = None, True
                log.error("ENDED TOO OFTEN, STAYS DOWN; going on without it", extra={**fields, "ends_in_60_s": ends})
