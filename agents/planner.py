"""What one planner process knows and does: it hears the fleet, the forecasts and the counts, and gives the orders.

One planner leads; the others hear the same and stand by. What was ordered stands on `scaling`, and nowhere else: who
takes over reads it there, with an epoch above all that it has seen, so that a planner that wakes up late orders in
vain. Solving runs in a thread; everything else in the event loop.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import msgspec
from confluent_kafka import KafkaException, Message

from agents.leading import Leading
from agents.observed import Observed
from agents.ordering import Standing
from agents.plan_making import Made, Maker
from agents.planner_settings import PlannerSettings, options_of
from agents.seeing import Seen
from registry.catalog import Catalog
from streams.clock import wall_us
from streams.errors import Overloaded
from streams.follow import Follow
from streams.hearing import PLANNER_KEY, Hearing, Word
from streams.outbox import Outbox
from streams.plans import encode_plan
from streams.records import PlannerReport, decode_arrivals, decode_forecast, encode
from streams.scaling import Order, decode_order, encode_order
from streams.settings import KafkaSettings
from streams.tail import Tail

log = logging.getLogger(__name__)

HEARD_BACK_MS = 3_000
COUNTS_BACK_MS = 15_000
REPORT_S = 1.0
NEWS_S = 0.2  # between two looks while classes appear
REPEAT_S = 60.0  # until a plan that still holds is said again
CAUGHT_UP_S = 30.0


class PlannerState:
    """`open`, then `turn` a few times a second, then `close`."""

    def __init__(self, settings: PlannerSettings, kafka: KafkaSettings) -> None:
        self._settings = settings
        self._kafka = kafka
        self.catalog = Catalog()
        self.standing = Standing()
        self.seen = Seen(settings)
        self.observed = Observed()
        self.maker = Maker(options_of(settings), settings)
        self.leading = Leading(settings.instance)
        self.plans = 0  # published
        self._registry: queue.SimpleQueue[tuple[str, bytes | None]] = queue.SimpleQueue()
        self._scaling: queue.SimpleQueue[tuple[str, bytes | None]] = queue.SimpleQueue()
        self._follow_registry = Follow(kafka, "registry", apply=lambda *r: self._registry.put(r), changed=lambda: None)
        self._follow_scaling = Follow(kafka, "scaling", apply=lambda *r: self._scaling.put(r), changed=lambda: None)
        self._hearing: Hearing | None = None
        self._arrivals: Tail | None = None
        self._outbox: Outbox | None = None
        self._solver = ThreadPoolExecutor(1, thread_name_prefix="solver")
        self._solving: Future[Made | None] | None = None
        self._reported_at = self._published_at = self._looked_at = 0.0
        self._last: bytes = b""

    def open(self) -> None:
        """Connect, and read what stands. Raises: KafkaException, Unreachable."""
        self._follow_registry.start()
        self._follow_scaling.start()
        self._follow_registry.caught_up(CAUGHT_UP_S)
        self._follow_scaling.caught_up(CAUGHT_UP_S)
        self._hearing = Hearing(self._kafka, back_ms=HEARD_BACK_MS)
        self._arrivals = Tail(self._kafka, "arrivals", since_ms=wall_us() // 1_000 - COUNTS_BACK_MS)
        self._outbox = Outbox(self._kafka.producer(), name="orders", threaded=False)

    def listen(self) -> tuple[list[Message], list[Word]]:
        """What came on `arrivals` and `fleet`."""
        assert self._arrivals is not None
        assert self._hearing is not None
        return self._arrivals.listen(), self._hearing.listen()

    def count(self, messages: list[Message]) -> None:
        """Records of `arrivals`."""
        now_s = wall_us() // 1_000_000
        for message in messages:
            try:
                self.observed.add(decode_arrivals(message.value() or b""), now_s=now_s)
            except msgspec.MsgspecError as unreadable:
                log.warning("arrivals ignored", extra={"error": str(unreadable)})

    def forecast(self, value: bytes) -> None:
        """A record of `forecasts`."""
        try:
            self.seen.forecast(decode_forecast(value), now_us=wall_us())
        except msgspec.MsgspecError as unreadable:
            log.warning("forecast ignored", extra={"error": str(unreadable)})

    def hear(self, words: list[Word]) -> None:
        """Records of `fleet`."""
        now_us, now = wall_us(), time.monotonic()
        for word in words:
            if isinstance(word, PlannerReport):
                self.leading.heard(word, now_s=now)
            else:
                self.seen.heard(word, now_us=now_us)

    def turn(self) -> None:
        """Take in what was followed; give the orders of a plan that is ready; start the next one when it is due."""
        assert self._outbox is not None
        now, now_us = time.monotonic(), wall_us()
        self._outbox.poll()
        if self._solving is None:
            self._apply()
        leads = self.leading.leads(now_s=now)
        if self._solving is not None and self._solving.done():
            self._carry_out(self._solving, leads=leads, now_us=now_us)
            self._solving = None
        if now - self._reported_at >= REPORT_S:
            self._reported_at = now
            self.seen.asked(self.observed)
            self.seen.learn(self.catalog, now_us=now_us)
            self._report(leads, now_us)
        wait_s = min(NEWS_S, self._settings.lanes_s) if self.observed.news else self._settings.lanes_s
        if leads and self._solving is None and now - self._looked_at >= wait_s:
            self._looked_at, self.observed.news = now, False
            snapshot = self.seen.snapshot(self.standing, self.observed, now_us=now_us)
            self._solving = self._solver.submit(
                self.maker.make, snapshot, self.catalog, self.standing.executors,
                self.seen.loading(self.standing, now_us=now_us), fresh=self.leading.fresh,
            )  # fmt: skip
        elif leads and self._last and now - self._published_at >= REPEAT_S:
            self._publish(self._last)

    def close(self) -> None:
        self._solver.shutdown(wait=True)
        for follow in (self._follow_registry, self._follow_scaling):
            follow.stop()
        if self._outbox is not None:
            self._report(False, wall_us())
        for each in (self._arrivals, self._hearing, self._outbox):
            if each is not None:
                each.close()

    def _apply(self) -> None:
        """Between two plans only, since the solver's thread reads the catalogue."""
        for key, value in _drained(self._registry):
            try:
                self.catalog.apply(key, value)
            except msgspec.MsgspecError as unreadable:
                log.warning("registry record ignored", extra={"key": key, "error": str(unreadable)})
        for key, value in _drained(self._scaling):
            try:
                self.standing.read(key, None if value is None else decode_order(value))
            except msgspec.MsgspecError as unreadable:
                log.warning("order ignored", extra={"key": key, "error": str(unreadable)})

    def _carry_out(self, solving: Future[Made | None], *, leads: bool, now_us: int) -> None:
        try:
            made = solving.result()
        except Exception:
            log.exception("no plan could be made; what stands is kept")
            return
        if made is None or not leads:  # somebody else leads by now: their orders count
            return
        epoch = self.leading.next_epoch(self.standing.epoch)
        orders = self.standing.changes(made.hosts, made.pools, epoch=epoch, now_us=now_us)
        for order in orders:
            self._order(order, now_us)
        for key in self.seen.forgotten(self.standing, now_us=now_us):
            self._send("scaling", None, key=key, then=partial(self.standing.deleted, key))
        if orders or made.news:
            self.leading.gave(epoch)
            self._last = encode_plan(made.record(epoch, self._settings.instance))
            self._publish(self._last)
        if orders:
            log.info(
                "ordered", extra={"epoch": epoch, "orders": len(orders), "why": made.trigger, "status": made.status}
            )

    def _order(self, order: Order, now_us: int) -> None:
        self._send(
            "scaling", encode_order(order), key=order.key, then=partial(self.standing.sent, order, now_us=now_us)
        )

    def _publish(self, plan: bytes) -> None:
        self._published_at = time.monotonic()
        self.plans += 1
        self._send("plans", plan, key=str(self.leading.epoch))

    def _report(self, leads: bool, now_us: int) -> None:
        report = PlannerReport(
            planner=self._settings.instance, sent_us=now_us, epoch=self.leading.epoch, leads=leads
        )  # fmt: skip
        self._send("fleet", encode(report), key=PLANNER_KEY.decode() + self._settings.instance)

    def _send(self, topic: str, value: bytes | None, *, key: str, then: Callable[[], None] = lambda: None) -> None:
        """What is not taken is not noted as sent, and so sent again with the next plan."""
        assert self._outbox is not None
        try:
            self._outbox.send(self._kafka.topic(topic), value, key=key)
        except (KafkaException, Overloaded) as refused:
            log.warning("not sent", extra={"topic": topic, "key": key, "error": str(refused)})
        else:
            then()


def _drained(waiting: queue.SimpleQueue[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    return [waiting.get() for _ in range(waiting.qsize())]
