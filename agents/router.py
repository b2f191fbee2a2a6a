"""The router: for every record of `queries` a dispatch, a refusal, or a place to wait; never silence.

Shell around the pure parts: selection, blocks, fleet, window, parking. It runs in the event loop of the Faust
worker (worker.py); producing and committing happen in librdkafka's threads, told through thread-safe calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message

from agents.counts import Counts
from agents.metrics import RouterMetrics
from agents.parking import Parking
from agents.replies import ReplyTopics
from agents.selection import Chosen, Parked, Refused, Selector
from agents.settings import RouterSettings
from agents.telling import Telling
from agents.window import Window
from streams.answers import refusal
from streams.bulk import Bulk
from streams.clock import wall_us
from streams.contract import INTERNAL
from streams.errors import DeadlinePassed, DispatchFailed, HeadraceError, NoExecutor, Overloaded
from streams.outbox import Headers, Outbox
from streams.pace import Pace
from streams.prefix import Prefix
from streams.query import Malformed, Query, QueryReader, Unaddressable
from streams.reader import Taken
from streams.records import Dispatch, encode
from streams.settings import KafkaSettings
from streams.terminal import PERMANENT, TOO_LARGE, Terminal

log = logging.getLogger(__name__)

LOOK_UP_S = 2.0
RETRIES_PER_TURN = 500  # parked queries tried again in one turn of the loop


class Waiting(msgspec.Struct, gc=False):
    """A query in hand: what was read, where its offset is finished, and whom the delivery report concerns."""

    query: Query
    message: Message
    headers: Headers
    prefix: Prefix
    offset: int
    reported: Callable[[Waiting, KafkaError | None], None]
    failed: bool = False  # not delivered: another Waiting goes on with it

    def __call__(self, error: KafkaError | None, _message: Message | None, /) -> None:
        self.reported(self, error)


class Router:
    """Routes queries and finishes their offsets.

    outbox:   sends at once; `together` lets records wait for others, while there are many.
    finish:   `Reader.finish`; called once a dispatch or an answer is acknowledged by the broker.
    defer:    the loop's `call_soon_threadsafe`, for what a delivery callback must not do itself.
    """

    def __init__(
        self,
        settings: RouterSettings,
        kafka: KafkaSettings,
        *,
        selector: Selector,
        outbox: Outbox,
        together: Outbox,
        bulk: Bulk[Waiting],
        terminal: Terminal,
        metrics: RouterMetrics,
        finish: Callable[[Prefix, int], None],
        defer: Callable[..., object],
    ) -> None:
        self._settings = settings
        self._selector = selector
        self._outbox = outbox
        self._together = together
        self._sender = outbox
        self._pace = Pace()
        self._bulk = bulk
        self._backlog = False
        self._reported = self._report
        self._terminal = terminal
        self._metrics = metrics
        self._finish = finish
        self._defer = defer
        self._reader = QueryReader()
        self._telling = Telling(
            outbox, metrics, topic=kafka.topic("decisions"), router=settings.instance, share=settings.decisions,
            rng=np.random.default_rng(settings.seed or None),
        )  # fmt: skip
        self._replies = ReplyTopics(kafka)
        self._window = Window(count_max=settings.window_max, age_max_us=settings.window_ms * 1_000)
        self._parking: Parking[Waiting] = Parking(count_max=settings.parked_max)
        self._looking_up: dict[str, list[tuple[Waiting, HeadraceError | None]]] = {}
        self._work_topic: dict[str, str] = {}
        self._kafka = kafka
        self._id_prefix = kafka.topic("queries") + "-"
        self.counts = Counts()
        self.outcomes: Counter[str] = Counter()

    def route(self, batch: Sequence[Taken], *, backlog: bool = False) -> None:
        """Route what the intake read, by the bulk producers if it is a backlog; a query's errors stay with it."""
        self._backlog = backlog
        many = self._pace.many(len(batch), now_us=wall_us())
        self._sender = self._together if many else self._outbox
        for taken in batch:
            try:
                self._route(taken)
            except Exception as bug:
                log.exception("routing failed")
                self._refuse_unread(taken, DispatchFailed(f"routing failed: {type(bug).__name__}: {bug}"))
        self._backlog = False
        self._metrics.count(self.outcomes)

    def retry(self, *, now_us: int) -> None:
        """Expire parked queries whose time is up and try the others again: by timer, and when the fleet changes."""
        for waiting in self._parking.expired(now_us=now_us):
            late = now_us >= waiting.query.deadline_us
            error: HeadraceError = (
                DeadlinePassed("the deadline passed while no executor could take the query")
                if late
                else NoExecutor(f"no executor could take the query for {self._settings.park_ms} ms")
            )
            self._refuse(waiting, error, now_us=now_us)
        for waiting in self._parking.take(RETRIES_PER_TURN):
            self._select(waiting, now_us=now_us)
        self._metrics.count(self.outcomes)

    @property
    def parked(self) -> int:
        return len(self._parking)

    def forget(self, partition: int) -> None:
        """The partition was revoked; from any thread."""
        self._defer(self._window.forget, partition)

    def _route(self, taken: Taken) -> None:
        message = taken.message
        partition, now_us = taken.prefix.partition, wall_us()
        timestamp_ms = message.timestamp()[1]
        fallback_id = f"{self._id_prefix}{partition}-{taken.offset}"
        headers: Any = message.headers() or ()
        read = self._reader.read(
            headers,
            fallback_id=fallback_id,
            timestamp_ms=timestamp_ms,
            has_value=message.value() is not None,
        )
        if taken.history:
            if isinstance(read, Query) and read.id_given:
                self._window.seen(partition, read.query_id, now_us=now_us)
            return
        if isinstance(read, Query):
            query = read
            if taken.marked:
                query.marked = True
            self.counts.add(query.requirements, second=timestamp_ms // 1_000, partition=partition)
            if query.id_given and query.attempt == 1 and self._window.seen(partition, query.query_id, now_us=now_us):
                query.marked = True
            self._select(Waiting(query, message, headers, taken.prefix, taken.offset, self._reported), now_us=now_us)
        elif isinstance(read, Malformed):
            read.marked = read.marked or taken.marked
            unread = Waiting(cast("Query", read), message, headers, taken.prefix, taken.offset, self._reported)
            self._refuse(unread, read.error, now_us=now_us)
        else:
            assert isinstance(read, Unaddressable)
            self.outcomes["dead-letter"] += 1
            self._terminal.dead_letter(message, read.error, lambda: self._finish(taken.prefix, taken.offset))

    def _select(self, waiting: Waiting, *, now_us: int) -> None:
        query = waiting.query
        reply = self._replies.verdict(query.reply_topic, query.reply_partition, now_us=now_us)
        if reply is None:
            self._look_up(waiting)
            return
        if not isinstance(reply, str):
            self._refuse(waiting, reply, now_us=now_us)
            return
        prefer = None
        if query.id_given and query.marked and query.attempt == 1:
            prefer = self._window.executor(waiting.prefix.partition, query.query_id)
        outcome = self._selector.select(query, now_us=now_us, prefer=prefer)
        self._telling.left -= 1
        if self._telling.left <= 0 or query.explain:
            self._telling.tell(self._selector, query, outcome, reply_topic=reply, now_us=now_us)
        match outcome:
            case Chosen() as chosen:
                self._dispatch(waiting, chosen, reply)
            case Refused(error=error):
                self._refuse(waiting, error, now_us=now_us)
            case Parked(until_us=until_us):
                until_us = min(until_us, query.deadline_us, now_us + self._settings.park_ms * 1_000)
                if not self._parking.park(waiting, until_us=until_us):
                    error = Overloaded(f"{self._settings.parked_max} queries already wait for an executor")
                    self._refuse(waiting, error, now_us=now_us)

    def _dispatch(self, waiting: Waiting, chosen: Chosen, reply_topic: str) -> None:
        query, message = waiting.query, waiting.message
        offer = chosen.offer
        decision = Dispatch(  # positional: keywords cost a third of it
            query.query_id, offer.variant, chosen.deadline_us, query.arrived_us, reply_topic, self._settings.instance,
            chosen.seq, query.reply_partition, query.correlation, query.style, query.requirements.content_type,
            query.traceparent, query.tracestate, query.attempt, query.marked, chosen.late_ok, chosen.missed,
            query.id_given, waiting.prefix.partition,
        )  # fmt: skip
        headers: Headers = [*waiting.headers, (INTERNAL, encode(decision))]
        topic = self._work_topic.get(offer.pool)
        if topic is None:
            topic = self._work_topic[offer.pool] = self._kafka.topic(f"work.{offer.pool}")
        try:
            if self._backlog:
                self._bulk.send(waiting, topic, message.value(), message.key(), chosen.slot, headers)
            else:
                self._sender.send(
                    topic, message.value(), key=message.key(), partition=chosen.slot, headers=headers, done=waiting
                )
        except KafkaException as refused:
            self._dispatch_failed(waiting, refused.args[0])
            return
        except Overloaded as full:
            self._refuse(waiting, full, now_us=wall_us())
            return
        self.outcomes[chosen.why] += 1
        if query.id_given:
            self._window.sent(waiting.prefix.partition, query.query_id, chosen.executor)

    def _report(self, waiting: Waiting, error: KafkaError | None) -> None:
        """A delivery report, in `poll`."""
        if error is None:
            self._finish(waiting.prefix, waiting.offset)
            return
        if waiting.failed:
            return  # told before, when a producer died
        waiting.failed = True
        self._defer(self._dispatch_failed, msgspec.structs.replace(waiting, failed=False), error)

    def _dispatch_failed(self, waiting: Waiting, error: KafkaError) -> None:
        now_us = wall_us()
        if error.code() in TOO_LARGE or error.code() in PERMANENT:
            self._refuse(waiting, DispatchFailed(f"the work topic refused the query: {error.str()}"), now_us=now_us)
            return
        waiting.query.marked = True  # a timeout: the broker may have the record all the same
        if now_us >= waiting.query.deadline_us:
            self._refuse(waiting, DeadlinePassed(f"undeliverable until the deadline: {error.str()}"), now_us=now_us)
        else:
            self._select(waiting, now_us=now_us)

    def _refuse(self, waiting: Waiting, error: HeadraceError, *, now_us: int) -> None:
        query = waiting.query
        reply = self._replies.verdict(query.reply_topic, query.reply_partition, now_us=now_us)
        if reply is None:
            self._look_up(waiting, error)
            return
        topic, partition = (reply, query.reply_partition) if isinstance(reply, str) else (self._replies.default, -1)
        answer = refusal(query, error, reply_topic=topic, now_us=now_us, duplicate=query.marked)
        answer = msgspec.structs.replace(answer, reply_partition=partition)
        self.outcomes[answer.outcome] += 1
        self._terminal.answer(answer, lambda: self._finish(waiting.prefix, waiting.offset))

    def _refuse_unread(self, taken: Taken, error: HeadraceError) -> None:
        self.outcomes["dead-letter"] += 1
        self._terminal.dead_letter(taken.message, error, lambda: self._finish(taken.prefix, taken.offset))

    def _look_up(self, waiting: Waiting, error: HeadraceError | None = None) -> None:
        """Ask the cluster for a reply topic not seen before, off the loop; its queries wait meanwhile."""
        name = waiting.query.reply_topic or self._replies.default
        queue = self._looking_up.get(name)
        if queue is not None:
            queue.append((waiting, error))
            return
        self._looking_up[name] = [(waiting, error)]
        task = asyncio.get_running_loop().run_in_executor(None, self._partitions_of, name)
        task.add_done_callback(lambda done: self._looked_up(name, done.result()))

    def _partitions_of(self, name: str) -> int | None:
        try:
            return self._outbox.partitions(name, LOOK_UP_S)
        except KafkaException as silent:
            log.warning("reply topic not looked up", extra={"topic": name, "error": str(silent)})
            return None

    def _looked_up(self, name: str, partitions: int | None) -> None:
        now_us = wall_us()
        self._replies.learned(name, partitions, now_us=now_us)
        for waiting, error in self._looking_up.pop(name, []):
            if error is None:
                self._select(waiting, now_us=now_us)
            else:
                self._refuse(waiting, error, now_us=now_us)
