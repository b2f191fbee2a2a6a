"""One machine with its executor: the shipped machine of states, the shipped rule of what to load next, modelled time.

What is modelled is what the shell does live: a batch takes what the profile's distribution says, an instance its load
time, a withdrawn variant its second; telemetry leaves at batch starts and heartbeats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np

from executors.backends.emulated import sampled_us
from executors.events import (
    Arrived,
    BatchFinished,
    Command,
    Deliver,
    Draining,
    Event,
    Expire,
    HandBack,
    RunBatch,
    Ticked,
    VariantLoaded,
    VariantUnloaded,
)
from executors.job import Job
from executors.machine import Machine
from executors.orders import Drop, Load, Refuse, Resize, Want, next_step
from registry.catalog import Catalog, Offer
from simulator.engine import Engine
from streams.clock import NEVER
from streams.records import LaneReport, Telemetry
from streams.scaling import ExecutorOrder

HEARTBEAT_US, TELEMETRY_MIN_US = 100_000, 20_000  # [executor] heartbeat_ms, telemetry_min_ms
LEAVE_US, LEAVE_MAX_US = 1_000_000, 60_000_000
GRACE_US = 5_000_000


class Knobs(msgspec.Struct, frozen=True, kw_only=True):
    """[executor] phi, reply_reserve_ms and window_drop. `together`: all that lacks is loaded at once, for rivals."""

    phi: float = 0.2
    reserve_us: int = 3_000
    window_drop: bool = True
    together: bool = False


class Told(msgspec.Struct, frozen=True, gc=False):
    """What becomes of a query here: `ok`, `expired` with a code, or back to its router."""

    query: int
    outcome: Literal["ok", "expired", "back"]
    variant: str = ""
    code: str = ""


class Node:
    """`say` and `tell` are how the world hears of telemetry and of answers, at the moment of sending."""

    def __init__(
        self, engine: Engine, catalog: Catalog, *, name: str, pool: str, hardware: str, cores: int, memory_mb: int,
        slot: int, knobs: Knobs, rng: np.random.Generator, say: Callable[[Telemetry], None],
        tell: Callable[[Told], None], gone: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.name, self.pool, self.cores = name, pool, cores
        self.state: Literal["ready", "draining", "gone"] = "ready"
        self._engine, self._catalog = engine, catalog
        self._hardware, self._memory_mb, self._slot = hardware, memory_mb, slot
        self._rng, self._say, self._tell, self._gone = rng, say, tell, gone
        self._machine = Machine(
            cores=cores, phi=knobs.phi, reserve_us=knobs.reserve_us, window_drop=knobs.window_drop, decoders=1
        )
        self._offers: dict[str, Offer] = {}
        self._running: dict[int, RunBatch] = {}
        self._received: dict[str, int] = {}
        self._order: ExecutorOrder | None = None
        self._here: dict[str, Want] = {}
        self._leaving: dict[str, int] = {}  # since when
        self._loading: dict[str, Want] = {}
        self._together = knobs.together
        self._wake_us = 0
        self._said_us = -HEARTBEAT_US
        engine.every(HEARTBEAT_US, self._beat)
        self._report()

    @property
    def lanes(self) -> dict[str, int]:
        """Instances by variant; none once it left."""
        if self.state == "gone":
            return {}
        return {name: want.lanes for name, want in self._here.items()}

    def order(self, order: ExecutorOrder) -> None:
        """A newer order; older ones are ignored."""
        if self.state != "gone" and (self._order is None or order.epoch >= self._order.epoch):
            self._order = order
            self._next()
            self._report()

    def arrive(self, jobs: list[Job], router: str, seq: int) -> None:
        """Queries that were read together."""
        if self.state == "gone":
            for job in jobs:
                self._tell(Told(job.ref, "back"))
            return
        self._received[router] = max(seq, self._received.get(router, 0))
        for job in jobs:
            job.queued_us = self._engine.now_us
        self._handle(Arrived(jobs))

    def drain(self) -> None:
        """As on SIGTERM: take no more, hand back what waits, finish what runs."""
        if self.state != "ready":
            return
        self.state = "draining"
        self._handle(Draining())
        self._report()
        self._engine.after(GRACE_US, self._leave)
        self._left()

    def kill(self) -> list[int]:
        """As by kill -9: nothing more is said. Returns: the queries that were here."""
        lost = [job.ref for batch in self._running.values() for job in batch.jobs if not job.done]
        self.state = "gone"
        self._running.clear()
        return lost

    def _handle(self, event: Event) -> None:
        now_us = self._engine.now_us
        self._perform(self._machine.handle(event, now_us=now_us), now_us)
        wake_us = self._machine.next_wake_us
        if wake_us < self._wake_us or self._wake_us <= now_us:
            self._wake_us = wake_us
            if wake_us < NEVER:
                self._engine.at(wake_us, self._tick, wake_us)

    def _tick(self, wake_us: int) -> None:
        if self.state != "gone" and wake_us == self._wake_us:
            self._handle(Ticked())

    def _perform(self, commands: list[Command], now_us: int) -> None:
        started = False
        for command in commands:
            match command:
                case RunBatch():
                    self._running[command.batch_id] = command
                    took_us = round(sampled_us(self._offers[command.variant].latency, len(command.jobs), self._rng))
                    self._engine.at(now_us + took_us, self._finished, command.batch_id, took_us)
                    started = True
                case Deliver(job, batch_id):
                    self._tell(Told(job.ref, "ok", self._running[batch_id].variant))
                case Expire(job, code):
                    self._tell(Told(job.ref, "expired", job.variant, code))
                case HandBack(job):
                    self._tell(Told(job.ref, "back"))
                case _:
                    raise AssertionError(command)  # inputs are ready, and nothing fails
        if started:
            since_us = now_us - self._said_us
            if since_us >= TELEMETRY_MIN_US:
                self._report()
            else:
                self._engine.at(self._said_us + TELEMETRY_MIN_US, self._due, self._said_us)

    def _finished(self, batch_id: int, took_us: int) -> None:
        if self.state == "gone":
            return
        self._handle(BatchFinished(batch_id, took_us))
        del self._running[batch_id]
        self._left()

    def _beat(self) -> bool:
        if self.state == "gone":
            return False
        now_us = self._engine.now_us
        for variant, since_us in list(self._leaving.items()):
            busy = any(each.variant == variant and (each.queued or each.running) for each in self._lanes(now_us))
            if now_us - since_us > (LEAVE_MAX_US if busy else LEAVE_US):
                del self._leaving[variant]
                self._handle(VariantUnloaded(variant))
                self._report()
                self._next()
        if now_us - self._said_us >= HEARTBEAT_US:
            self._report()
        return True

    def _due(self, said_us: int) -> None:
        if said_us == self._said_us and self.state != "gone":
            self._report()

    def _lanes(self, now_us: int) -> tuple[LaneReport, ...]:
        return self._machine.reports(now_us=now_us)

    def _report(self) -> None:
        now_us = self._said_us = self._engine.now_us
        self._machine.age(now_us=now_us)
        wanted = {} if self._order is None else {lane.variant: lane.lanes for lane in self._order.lanes}
        pending = {name: "loading" for name, lanes in wanted.items() if self.lanes.get(name, 0) < lanes}
        pending |= dict.fromkeys(self._leaving, "draining")
        self._say(
            Telemetry(
                executor=self.name, pool=self.pool, hardware=self._hardware, slots=(self._slot,), cores=self.cores,
                busy_us=self._machine.cores.expected_us(now_us), received=dict(self._received), state=self.state,
                lanes=tuple(each for each in self._lanes(now_us) if each.variant not in self._leaving), sent_us=now_us,
                epoch=0 if self._order is None else self._order.epoch, pending=pending, memory_mb=self._memory_mb,
            )
        )  # fmt: skip

    def _next(self) -> None:
        """The next step to what is ordered, unless something loads."""
        while self.state == "ready" and self._order is not None and (self._together or not self._loading):
            wanted = {lane.variant: self._want(lane.variant, lane.lanes, lane.batch_max) for lane in self._order.lanes}
            leaving = sum(self._profile_bytes(name) for name in self._leaving)
            here = {**self._here, **self._loading}  # what loads is there before something else goes
            step = next_step(wanted, here, leaving_bytes=leaving, memory_bytes=self._memory_mb * 1_000_000)
            match step:
                case Load(name) | Resize(name):
                    want = wanted[name]
                    held = self._here[name].lanes if name in self._here else 0
                    if want.lanes <= held:
                        self._hold(name, want)
                        continue
                    if not self._together:
                        want = msgspec.structs.replace(want, lanes=held + 1)
                    self._loading[name] = want
                    self._engine.after(self._catalog.profiles[name, self.pool].load_us, self._loaded, want, name)
                case Drop(name):
                    if self._loading:
                        return  # create before destroy
                    del self._here[name]
                    self._leaving[name] = self._engine.now_us
                    self._report()
                case Refuse() | None:
                    return

    def _loaded(self, want: Want, name: str) -> None:
        self._loading.pop(name, None)
        if self.state == "gone":
            return
        self._hold(name, want)
        self._next()

    def _hold(self, name: str, want: Want) -> None:
        self._here[name] = want
        self._leaving.pop(name, None)
        offer = self._offers[name] = next(
            each for each in self._catalog.offers() if (each.variant, each.pool) == (name, self.pool)
        )
        latency = offer.latency.capped(want.batch_max or offer.latency.batch_max)
        self._handle(VariantLoaded(variant=name, latency=latency, width=offer.width, lanes=want.lanes))
        self._report()

    def _want(self, name: str, lanes: int, batch_max: int) -> Want:
        return Want(identity=name, lanes=lanes, batch_max=batch_max, memory_bytes=self._profile_bytes(name))

    def _profile_bytes(self, name: str) -> int:
        return self._catalog.profiles[name, self.pool].memory_bytes

    def _left(self) -> None:
        if self.state == "draining" and not self._running:
            self._leave()

    def _leave(self) -> None:
        if self.state == "gone":
            return
        self.state = "gone"
        self._report()
        self._gone(self.name)
