"""What one router process holds: its catalogue, fleet, intake and the clockwork between them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec
import numpy as np
from confluent_kafka import KafkaException

from agents.counting import Counting
from agents.fleet import Fleet
from agents.followed import Followed
from agents.metrics import RouterMetrics
from agents.ownership import Ownership
from agents.router import Router, Waiting
from agents.selection import Selector
from agents.settings import RouterSettings
from registry.catalog import Catalog
from streams.bulk import Bulk
from streams.clock import wall_us
from streams.collector import calm
from streams.hearing import ROUTER_KEY, Hearing, Word
from streams.observe import Observatory, ObserveSettings
from streams.outbox import Outbox
from streams.pace import LINGER_MS
from streams.plans import decode_plan
from streams.reader import Reader, Taken
from streams.records import RouterReport, Telemetry, encode
from streams.settings import KafkaSettings
from streams.tail import Tail
from streams.terminal import Terminal

log = logging.getLogger(__name__)

STALLED_S = 10.0  # without a turn of the intake, the process is not healthy
READ_AHEAD = 10_000  # queries fetched and not taken: in nobody's hands yet, while a hungry loop costs thread switches
OBSERVE_S = 1.0  # between two looks at itself
FLEET_WAIT_S = 1.0  # for the first executor, before queries are read anyway and answered or parked


class RouterState:
    """Everything between the Faust worker and the pure parts. All but `close` runs in the event loop."""

    def __init__(self, settings: RouterSettings, kafka: KafkaSettings, observe: ObserveSettings) -> None:
        self.settings = settings
        self.registry_end = 0
        self.failed: str | None = None
        self.catalog = Catalog()
        self.metrics = RouterMetrics()
        self._kafka = kafka
        self._rng = np.random.default_rng(settings.seed or None)
        self.fleet = Fleet(router=settings.instance, silence_us=settings.silence_ms * 1_000)
        self.ownership = Ownership(settings.instance)
        self.selector = Selector(self.catalog, self.fleet, settings=settings, rng=self._rng, ownership=self.ownership)
        self.router: Router | None = None
        self.reader: Reader | None = None
        self.hearing: Hearing | None = None
        self.plans: Tail | None = None
        self._plan = Followed(max_age_s=settings.plan_max_age_s)
        self._outbox: Outbox | None = None
        self._together: Outbox | None = None
        self._bulk: Bulk[Waiting] | None = None
        self._sink: Callable[[list[Taken]], None] | None = None
        self._read_to = 0
        self._counting = Counting()
        self._beat_at = self._observed_at = 0.0
        self._known_at = 0.0
        self._stale = False
        self._observatory = Observatory(observe, self.metrics.registry, healthy=self._healthy, ready=self._ready)

    def open(self, *, defer: Callable[..., object], sink: Callable[[list[Taken]], None]) -> None:
        """Connect the hot path; queries are read once the registry has been read through."""
        self._outbox = Outbox(self._kafka.producer(), name="dispatch", threaded=False)
        self._together = Outbox(self._kafka.producer(**{"linger.ms": LINGER_MS}), name="together", threaded=False)
        self._bulk = Bulk(self._kafka.producer(), acked=self._acked)
        self._sink = sink
        self.router = Router(
            self.settings,
            self._kafka,
            selector=self.selector,
            outbox=self._outbox,
            together=self._together,
            bulk=self._bulk,
            terminal=Terminal(self._outbox, self._kafka),
            metrics=self.metrics,
            finish=lambda prefix, offset: self.reader.finish(prefix, offset) if self.reader else None,
            defer=defer,
        )
        self._observatory.start()

    def route(self, batch: list[Taken], *, backlog: bool) -> None:
        """Route a list; with a backlog behind it, acknowledgements are counted together."""
        assert self.router is not None
        self.router.route(batch, backlog=backlog)
        self._poll()

    def more(self, *, wait_s: float = 0.0) -> list[Taken]:
        """The list is routed: read on here, while there is a backlog or the stream is brisk. Blocks for `wait_s`."""
        if self.reader is None:
            return []
        taken = self.reader.more(self._poll, wait_s=wait_s)
        if not taken:
            self._poll()
        return taken

    @property
    def brisk(self) -> bool:
        """Whether queries come so fast that waiting here for the next is cheaper than changing threads."""
        return self.reader is not None and self.reader.brisk

    def dealt(self) -> None:
        """Let the reader's thread wait for queries."""
        assert self.reader is not None
        self.reader.dealt()

    def learn(self, key: bytes | None, value: bytes | None, *, offset: int) -> None:
        """One record of the registry topic."""
        name = (key or b"").decode("utf-8", "replace")
        try:
            self.catalog.apply(name, value)
        except msgspec.MsgspecError as unreadable:
            log.warning("registry record ignored", extra={"key": name, "error": str(unreadable)})
        self._read_to = offset + 1
        self._stale = True

    def hear(self, words: list[Word]) -> None:
        """Records of the fleet topic: executors' telemetry and routers' signs of life."""
        now_us = wall_us()
        for word in words:
            if isinstance(word, RouterReport):
                self.ownership.heard(word, now_us=now_us)
            elif isinstance(word, Telemetry) and self.fleet.heard(word, now_us=now_us):
                self._stale = True

    def turn(self) -> list[Word]:
        """Every 10 ms: timers, parked queries, signs of life, counts of the seconds that are over.

        Returns: what the fleet said meanwhile.
        """
        if self.router is None or self.hearing is None:
            return []
        now_us, now = wall_us(), time.monotonic()
        if self.reader is None and self._read_to >= self.registry_end:
            # Until the fleet is known every query would have to wait in memory; so they wait in the topic.
            self._known_at = self._known_at or now
            if self.fleet.routable(now_us=now_us) or now - self._known_at > FLEET_WAIT_S:
                self._start_reader()
        self._follow_plans(now_us)
        if self._stale:
            self._stale = False
            self.selector.refresh(now_us=now_us)
        self._poll()
        self.router.retry(now_us=now_us)
        if self.reader is not None and self.reader.failed:
            self.failed = self.reader.failed
            raise RuntimeError(f"intake failed: {self.failed}")  # the worker ends; its supervisor starts a new one
        if now - self._beat_at >= self.settings.heartbeat_ms / 1_000:
            self._beat_at = now
            self._beat("ready")
        for arrivals in self._counting.turn(self.router.counts, parked=self.router.parked, now_us=now_us):
            self._send("arrivals", encode(arrivals), key=arrivals.klass.encode())
        if now - self._observed_at >= OBSERVE_S:
            self._observed_at = now
            self._observe(now)
        return self.hearing.listen()

    def drain(self) -> int:
        """Take no more queries; returns how many are not passed on and acknowledged yet, for a successor to mark."""
        if self.reader is None:
            return 0
        self.reader.hold()
        self._poll()
        return self.reader.in_flight

    def close(self) -> None:
        """Commit what is finished and leave the group. Not in the loop: it waits."""
        if self.reader is not None:
            self.reader.stop()
            self.reader.join(self.settings.grace_ms / 1_000 + 10.0)
        for tail in (self.hearing, self.plans):
            if tail is not None:
                tail.close()
        if self._outbox is not None and self._together is not None and self._bulk is not None:
            self._beat("gone")
            left = self._outbox.close() + self._together.close() + self._bulk.close()
            log.info("router closed", extra={"unsent": left})
        self._observatory.stop()

    def _follow_plans(self, now_us: int) -> None:
        if self.plans is None or not self._plan.due(now_us=now_us):
            return
        for message in self.plans.listen():
            try:
                self._plan.heard(decode_plan(message.value() or b""), now_us=now_us)
            except msgspec.MsgspecError as unreadable:
                log.warning("plan ignored", extra={"error": str(unreadable)})
        plan = self._plan.news(now_us=now_us)
        if plan is not None:
            self.selector.follow(plan.classes, epoch=plan.epoch, now_us=now_us)
            self.metrics.epoch.set(plan.epoch)

    def _acked(self, sent: list[Waiting]) -> None:
        if self.reader is not None:
            self.reader.finish_all(sent)

    def _poll(self, timeout_s: float = 0.0) -> None:
        assert self._outbox is not None
        assert self._together is not None
        assert self._bulk is not None
        self._bulk.poll()
        self._together.poll()
        self._outbox.poll(timeout_s)

    def _start_reader(self) -> None:
        assert self._sink is not None
        self.reader = Reader(
            self._kafka.consumer("router", **{"queued.min.messages": READ_AHEAD}),
            self._kafka.topic("queries"),
            self._sink,
            in_flight_max=self.settings.in_flight_max,
            batch_max=self.settings.batch_max,
            session_s=self._kafka.session_ms / 1_000,
            grace_s=self.settings.grace_ms / 1_000,
            history=self.settings.history,
            on_revoked=self._forget,
            name="intake",
        )
        calm()
        self.reader.start()
        log.info("router ready", extra={"variants": len(self.catalog.variants)})

    def _forget(self, partitions: list[int]) -> None:
        """The ids of a partition that goes belong to its next owner (called in the reader's thread)."""
        if self.router is not None:
            for partition in partitions:
                self.router.forget(partition)

    def _beat(self, state: str) -> None:
        assert self._outbox is not None
        report = RouterReport(router=self.settings.instance, sent_us=wall_us(), state=state, behind=self._behind())  # type: ignore[arg-type]
        self._send("fleet", encode(report), key=ROUTER_KEY + self.settings.instance.encode())

    def _behind(self) -> int:
        unread = 0 if self.reader is None else self.reader.behind
        return unread + (0 if self.router is None else self.router.parked)

    def _send(self, topic: str, value: bytes, *, key: bytes) -> None:
        """Control records: a lost one is followed by the next, so a failure is logged and no more."""
        assert self._outbox is not None
        try:
            self._outbox.send(self._kafka.topic(topic), value, key=key)
        except KafkaException as refused:
            log.warning("control record not sent", extra={"topic": topic, "error": str(refused)})

    def _observe(self, now: float) -> None:
        assert self.router is not None
        self.metrics.parked.set(self.router.parked)
        self.metrics.executors.set(self.fleet.routable(now_us=wall_us()))
        self.metrics.spared.set(self.selector.spared)
        if self.reader is not None:
            self.metrics.in_flight.set(self.reader.in_flight)
            self.metrics.progress_age.set(now - self.reader.progress_at)

    def _healthy(self) -> str | None:
        if self.reader is None:
            return None
        age = time.monotonic() - self.reader.progress_at
        return f"the intake has not turned for {age:.0f} s (limit {STALLED_S:.0f})" if age > STALLED_S else None

    def _ready(self) -> str | None:
        if self.reader is None:
            return f"reading the registry: {self._read_to} of {self.registry_end}"
        return None if self.reader.owned else "no partition of queries is assigned yet"
