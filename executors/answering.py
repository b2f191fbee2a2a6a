"""What leaves an executor for one query: its answer, or the query itself back to the router."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message

from executors.kept import Kept
from executors.residency import Resident
from streams.answers import refusal
from streams.claims import Claims
from streams.clock import NEVER, wall_us
from streams.contract import INTERNAL, Outcome
from streams.errors import AttemptsExhausted, DispatchFailed, HeadraceError, Overloaded
from streams.outbox import Headers, Outbox
from streams.prefix import Prefix
from streams.records import Answer, Dispatch, Return, encode
from streams.settings import KafkaSettings
from streams.terminal import PERMANENT, TOO_LARGE, Terminal

log = logging.getLogger(__name__)


class Held(msgspec.Struct, gc=False):
    """One query in this executor: the record, where its offset is finished, the decision, and its decoded item."""

    message: Message
    prefix: Prefix
    offset: int
    dispatch: Dispatch
    marked: bool
    item: Any = None
    error: HeadraceError | None = None
    started_us: int = 0


class Answering:
    """Ends queries. `finish` is called once the broker has what was sent.

    `outcomes` counts since it was last emptied.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        outbox: Outbox,
        *,
        finish: Callable[[Prefix, int], None],
        kept: Kept,
        attempts_max: int,
        claims: Claims | None = None,
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self._queries = kafka.topic("queries")
        self._outbox = outbox
        self._terminal = Terminal(outbox, kafka, claims)
        self._finish = finish
        self._kept = kept
        self._attempts_max = attempts_max

    def ok(self, held: Held, resident: Resident, value: bytes, *, size: int, took_us: int, queued_us: int) -> None:
        """The result of a query that ran in a batch of `size`, which took `took_us` on its lane."""
        dispatch = held.dispatch
        now_us = wall_us()
        answer = Answer(
            query_id=dispatch.query_id,
            outcome=Outcome.OK,
            value=value,
            reply_topic=dispatch.reply_topic,
            reply_partition=dispatch.reply_partition,
            correlation=dispatch.correlation,
            style=dispatch.style,
            traceparent=dispatch.traceparent,
            tracestate=dispatch.tracestate,
            variant=dispatch.variant,
            accuracy=resident.offer.accuracy,
            attempt=dispatch.attempt,
            latency_us=max(0, now_us - dispatch.arrived_us),
            queue_us=max(0, held.started_us - queued_us),
            batch=size,
            cost_usd=resident.offer.lane_usd_us * took_us / size,
            missed=_missed(dispatch, now_us),
            duplicate=held.marked,
        )
        if dispatch.keep:
            self._kept.keep(answer)
        self._send(held, answer)

    def again(self, held: Held) -> bool:
        """Answer a repeated query id from the kept answer, to the new address; False if there is none."""
        before = self._kept.get(held.dispatch.query_id)
        if before is None:
            return False
        dispatch = held.dispatch
        answer = msgspec.structs.replace(
            before, reply_topic=dispatch.reply_topic, reply_partition=dispatch.reply_partition,
            correlation=dispatch.correlation, style=dispatch.style, traceparent=dispatch.traceparent,
            tracestate=dispatch.tracestate,
            latency_us=max(0, wall_us() - dispatch.arrived_us), duplicate=True,
        )  # fmt: skip
        self._send(held, answer)
        return True

    def refuse(self, held: Held, error: HeadraceError) -> None:
        """The answer of a query that did not run to its end here."""
        dispatch = held.dispatch
        topic = dispatch.reply_topic
        self._send(held, refusal(dispatch, error, reply_topic=topic, now_us=wall_us(), duplicate=held.marked))

    def expire(self, now_us: int) -> None:
        """Results that are still on their way to the store at their deadline."""
        self._terminal.expire(now_us=now_us)

    def dead_letter(self, message: Message, prefix: Prefix, offset: int, error: HeadraceError) -> None:
        self.outcomes["dead-letter"] += 1
        self._terminal.dead_letter(message, error, lambda: self._finish(prefix, offset))

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
                self._finish(held.prefix, held.offset)
            else:
                self._not_handed(held, error)

        self.outcomes["handed-back"] += 1
        try:
            self._outbox.send(self._queries, message.value(), key=message.key(), headers=headers, done=done)
        except KafkaException as refused:
            self._not_handed(held, refused.args[0])
        except Overloaded as full:
            self.refuse(held, full)

    def _not_handed(self, held: Held, error: KafkaError) -> None:
        held.marked = True  # after a timeout the broker may have it all the same
        if error.code() in PERMANENT or error.code() in TOO_LARGE or wall_us() >= held.dispatch.deadline_us:
            self.refuse(held, DispatchFailed(f"the query could not be handed back: {error.str()}"))
        else:
            held.dispatch = msgspec.structs.replace(held.dispatch, attempt=held.dispatch.attempt + 1)
            self.hand_back(held, marked=True)

    def _send(self, held: Held, answer: Answer) -> None:
        self.outcomes[answer.outcome.value] += 1
        prefix, offset, finish, dispatch = held.prefix, held.offset, self._finish, held.dispatch
        deadline_us = NEVER if dispatch.late_ok else dispatch.deadline_us
        self._terminal.answer(answer, lambda: finish(prefix, offset), deadline_us=deadline_us)


def _missed(dispatch: Dispatch, now_us: int) -> str | None:
    """What the router said was given up; a late answer says so by how much."""
    if dispatch.late_ok and now_us > dispatch.deadline_us:
        late_ms = (now_us - dispatch.deadline_us) / 1_000
        return f"deadline, by {late_ms:.1f} ms"
    return None if dispatch.late_ok else dispatch.missed
