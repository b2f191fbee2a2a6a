"""What leaves an executor for one query: its answer, or the query itself back to the router."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Hashable
from functools import partial
from typing import cast

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message

from executors.held import Held
from executors.kept import Kept
from executors.okheaders import Batch, common
from executors.outlet import Outlet
from executors.residency import Resident
from streams.answers import Emulated, emulated, refusal
from streams.claims import Claims
from streams.clock import NEVER, wall_us
from streams.contract import INTERNAL, Outcome
from streams.errors import AttemptsExhausted, DispatchFailed, HeadraceError, Overloaded
from streams.outbox import Headers
from streams.prefix import Prefix
from streams.records import Answer, Dispatch, Return, encode
from streams.settings import KafkaSettings
from streams.terminal import PERMANENT, TOO_LARGE, Terminal

log = logging.getLogger(__name__)


class Served(msgspec.Struct, frozen=True, gc=False):
    """What the answers of one batch share. Units: `took_us` on the lane, `cost_usd` a query."""

    resident: Resident
    size: int
    started_us: int
    took_us: int
    cost_usd: float
    headers: Batch

    @classmethod
    def of(cls, resident: Resident, *, size: int, started_us: int, took_us: int) -> Served:
        cost_usd = resident.offer.lane_usd_us * took_us / size
        return cls(resident, size, started_us, took_us, cost_usd, resident.headers.batch(size, cost_usd))


class Ended(msgspec.Struct, frozen=True, gc=False):
    """How a query was answered `ok`."""

    served: Served
    value: bytes
    latency_us: int
    queue_us: int


class Answering:
    """Ends queries, counts how in `outcomes`, and calls `finish` once the broker has what was sent."""

    def __init__(
        self,
        kafka: KafkaSettings,
        outlet: Outlet,
        *,
        finish: Callable[[Prefix, int], None],
        kept: Kept,
        attempts_max: int,
        outcomes: Counter[str],
        claims: Claims | None = None,
        emulates: bool = False,
    ) -> None:
        self.outcomes = outcomes
        self._queries = kafka.topic("queries")
        self._outlet = outlet
        self._terminal = Terminal(outlet, kafka, claims)
        self._value_max_bytes = kafka.value_max_bytes
        self.finish = finish
        self._kept = kept
        self._attempts_max = attempts_max
        self._emulates = emulates
        self._refused: deque[tuple[Held, KafkaError]] = deque()

    def ok(self, held: Held, served: Served, value: bytes, *, queued_us: int, now_us: int) -> None:
        """The result of a query that waited from `queued_us` until its batch started."""
        dispatch = held.dispatch
        latency_us, queue_us = now_us - dispatch.arrived_us, served.started_us - queued_us
        ended = Ended(served, value, max(0, latency_us), max(0, queue_us))
        if dispatch.keep:
            self._keep(held, ended, now_us)
        if held.marked or not common(dispatch) or len(value) > self._value_max_bytes:
            self._send(held, self._answer(held, ended, now_us))
            return
        self.outcomes["ok"] += 1
        held.ended = ended
        headers = served.resident.headers.of(
            dispatch, served.headers, latency_us=ended.latency_us, queue_us=ended.queue_us
        )
        try:
            self._outlet.answer(
                held, dispatch.reply_topic, value, key=dispatch.query_id, partition=dispatch.reply_partition,
                headers=headers,
            )  # fmt: skip
        except KafkaException as error:
            self.refused(held, error.args[0])
        except Overloaded as full:
            log.error("left uncommitted, so that it is read again after a restart", extra={"what": str(full)})

    def refused(self, held: Held, error: KafkaError) -> None:
        """The answer that `ok` sent was not delivered; `turn` goes on with it."""
        self._refused.append((held, error))

    def turn(self, now_us: int) -> None:
        """Go on with what was not delivered, and with results still on their way to the store at their deadline.

        The terminal sees refused answers through; after a timeout the broker may have the first one.
        """
        while self._refused:
            held, error = self._refused.popleft()
            answer = self._answer(held, held.ended, now_us)
            if error.code() not in PERMANENT and error.code() not in TOO_LARGE:
                answer = msgspec.structs.replace(answer, duplicate=True)
            self._terminal.answer(answer, partial(self.finish, held.prefix, held.offset))
        self._terminal.expire(now_us=now_us)

    def again(self, held: Held) -> bool:
        """Answer a repeated query id from the kept answer, to the new address; False if there is none."""
        identity = _identity(held)
        before = None if identity is None else self._kept.get(identity)
        if before is None:
            return False
        dispatch = held.dispatch
        answer = msgspec.structs.replace(
            before, reply_topic=dispatch.reply_topic, reply_partition=dispatch.reply_partition,
            correlation=dispatch.correlation, style=dispatch.style, traceparent=dispatch.traceparent,
            tracestate=dispatch.tracestate, latency_us=max(0, wall_us() - dispatch.arrived_us), duplicate=True,
        )  # fmt: skip
        self._send(held, answer)
        return True

    def refuse(self, held: Held, error: HeadraceError) -> None:
        """The answer of a query that did not run to its end here."""
        dispatch = held.dispatch
        topic = dispatch.reply_topic
        answer = refusal(dispatch, error, reply_topic=topic, now_us=wall_us(), duplicate=held.marked)
        self._send(held, emulated(answer) if self._emulates else answer)

    def dead_letter(self, message: Message, prefix: Prefix, offset: int, error: HeadraceError) -> None:
        self.outcomes["dead-letter"] += 1
        self._terminal.dead_letter(message, error, lambda: self.finish(prefix, offset))

    def hand_back(self, held: Held, *, marked: bool) -> None:
        """Put the query back on `queries`, with its identity, deadline and history; too often, and it fails."""
        dispatch, message = held.dispatch, held.message
        if dispatch.attempt > self._attempts_max:
            error = AttemptsExhausted(f"{dispatch.attempt} executors took the query and none answered it")
            self.refuse(held, error)
            return
        back = Return(
            query_id=dispatch.query_id, deadline_us=dispatch.deadline_us, arrived_us=dispatch.arrived_us,
            attempt=dispatch.attempt + 1, marked=marked or held.marked,
        )  # fmt: skip
        carried = cast("Headers", message.headers() or [])
        headers: Headers = [header for header in carried if header[0] != INTERNAL]
        headers.append((INTERNAL, encode(back)))

        def done(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                self.finish(held.prefix, held.offset)
            else:
                self._not_handed(held, error)

        self.outcomes["handed-back"] += 1
        try:
            self._outlet.send(self._queries, message.value(), key=message.key(), headers=headers, done=done)
        except KafkaException as refused:
            self._not_handed(held, refused.args[0])
        except Overloaded as full:
            self.refuse(held, full)

    def _not_handed(self, held: Held, error: KafkaError) -> None:
        held.marked = True  # after a timeout the broker may have it all the same
        log.warning("query not handed back", extra={"error": error.str()})
        if error.code() in PERMANENT or error.code() in TOO_LARGE or wall_us() >= held.dispatch.deadline_us:
            self.refuse(held, DispatchFailed(f"the query could not be handed back: {error.str()}"))
        else:
            held.dispatch = msgspec.structs.replace(held.dispatch, attempt=held.dispatch.attempt + 1)
            self.hand_back(held, marked=True)

    def _keep(self, held: Held, ended: Ended, now_us: int) -> None:
        identity = _identity(held)
        if identity is not None:
            self._kept.keep(identity, self._answer(held, ended, now_us))

    def _answer(self, held: Held, ended: Ended, now_us: int) -> Answer:
        dispatch, served = held.dispatch, ended.served
        kind = Emulated if self._emulates else Answer
        return kind(
            query_id=dispatch.query_id,
            outcome=Outcome.OK,
            value=ended.value,
            reply_topic=dispatch.reply_topic,
            reply_partition=dispatch.reply_partition,
            correlation=dispatch.correlation,
            style=dispatch.style,
            traceparent=dispatch.traceparent,
            tracestate=dispatch.tracestate,
            variant=dispatch.variant,
            accuracy=served.resident.offer.accuracy,
            attempt=dispatch.attempt,
            latency_us=ended.latency_us,
            queue_us=ended.queue_us,
            batch=served.size,
            cost_usd=served.cost_usd,
            missed=_missed(dispatch, now_us),
            duplicate=held.marked,
        )

    def _send(self, held: Held, answer: Answer) -> None:
        self.outcomes[answer.outcome.value] += 1
        dispatch = held.dispatch
        deadline_us = NEVER if dispatch.late_ok else dispatch.deadline_us
        self._terminal.answer(answer, partial(self.finish, held.prefix, held.offset), deadline_us=deadline_us)


def _missed(dispatch: Dispatch, now_us: int) -> str | None:
    """What the router said was given up; a late answer says so by how much."""
    if dispatch.late_ok and now_us > dispatch.deadline_us:
        late_ms = (now_us - dispatch.deadline_us) / 1_000
        return f"deadline, by {late_ms:.1f} ms"
    return None if dispatch.late_ok else dispatch.missed


def _identity(held: Held) -> Hashable | None:
    """What a repeated query shares with the first: its id, and the partition of `queries` that both came from.

    A router that does not say the partition passes the key on, and equal keys have one partition. Without either
    there is no telling another client's query from a repeated one.
    """
    dispatch = held.dispatch
    if dispatch.origin >= 0:
        return dispatch.origin, dispatch.query_id
    key = held.message.key()
    return None if key is None else (key, dispatch.query_id)
