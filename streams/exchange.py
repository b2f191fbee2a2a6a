"""The engine under both clients: sends queries, matches answers to futures, and gives up on overdue ones.

Threads: the caller's, the producer's poll thread, and the mailbox, in which answers complete futures (and run
their callbacks, which must be short) and overdue ones fail. Large values come and go in threads of claims.py.
"""

from __future__ import annotations

import itertools
import os
import secrets
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import cast

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message

from streams.answers import read_answer
from streams.asking import Ask
from streams.claims import Claims
from streams.clock import from_ms, wall_us
from streams.contract import CLAIM, SET_STORE
from streams.delivery import delivery_error, no_answer, topic_missing
from streams.errors import AnswerMissing, BadRecord, BadSettings, HeadraceError, NoStore, Overloaded, Unreachable
from streams.mailbox import Mailbox
from streams.outbox import Headers, Outbox
from streams.pending import Counts, Ledger, Pending
from streams.records import Answer
from streams.reply import Reply
from streams.settings import KafkaSettings

UNDELIVERED_BYTES_MAX = 64 << 20  # queries that no broker has acknowledged; librdkafka's queue takes 256 MB
FLUSH_S = 10.0
FRESH_S = 1.0  # a topic made a moment ago may not be known to every broker yet
LOOK_S = 0.05  # how often a `send` without room looks again by itself
CLOSED = "the client was closed before an answer came"
_NUMBER = struct.Struct(">Q")
Received = Sequence[tuple[str, bytes | None]]


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait: for the cluster, for room, after a deadline, and without one."""

    connect_s: float = 10.0
    grace_s: float = 10.0  # 6 s that a takeover may need, and a margin
    wait_max_s: float = 300.0


class Exchange:
    """One producer, one mailbox and the ledger between them; every method may be called from any thread."""

    def __init__(
        self, kafka: KafkaSettings, claims: Claims | None = None, *, in_flight_max: int, patience: Patience
    ) -> None:
        """Connect, choose a partition of `results` and find its end. `claims` is closed with this.

        Raises: Unreachable, TopicMissing, BadSettings.
        """
        if min(in_flight_max, patience.wait_max_s, patience.connect_s) <= 0 or patience.grace_s < 0:
            raise BadSettings(
                f"in_flight_max {in_flight_max}, wait_max_s {patience.wait_max_s:g} and connect_timeout_s "
                f"{patience.connect_s:g} must be > 0, grace_s {patience.grace_s:g} >= 0"
            )
        self.kafka = kafka
        self._claims = claims
        self._fetching = 0  # answers that came, but for their values
        self._in_flight_max = in_flight_max
        self._in_flight_low = in_flight_max - max(1, in_flight_max // 8)  # waking for each answer costs 20 us a query
        self._grace_us, self._wait_max_us = from_ms(patience.grace_s * 1_000), from_ms(patience.wait_max_s * 1_000)
        self._queries, self._results = kafka.topic("queries"), kafka.topic("results")
        self._pid = os.getpid()
        self._identity = secrets.token_bytes(8)
        self._name = self._identity.hex()
        self._numbers = itertools.count(1)
        self._ledger = Ledger(count_max=in_flight_max, bytes_max=UNDELIVERED_BYTES_MAX)
        self._room = threading.Condition()  # its lock guards the ledger
        self._gone: deque[int] = deque()  # sizes that left the producer; the next `send` enters them
        self._closed: str | None = None
        try:
            self._outbox = Outbox(
                kafka.producer(**{"queue.buffering.max.messages": max(100_000, 2 * in_flight_max)}),
                name="headrace-outbox",
            )
        except (KafkaException, ValueError, TypeError) as refused:
            raise BadSettings(f"librdkafka refuses the configuration: {refused}") from refused
        try:
            self._mailbox = self._connect(patience.connect_s)
        except BaseException:
            self._outbox.close(0.0)
            raise
        self._reply_to: Headers = [("reply-partition", str(self._mailbox.partition).encode())]
        self._mailbox.start()

    @property
    def in_flight(self) -> int:
        return len(self._ledger)

    @property
    def partition(self) -> int:
        """The partition of `results` that our answers come to."""
        return self._mailbox.partition

    def send(self, ask: Ask, *, query_id: str | None, key: str | bytes | None, block_s: float) -> Pending:
        """Enter one query and give it to the producer.

        Raises: Overloaded if there is no room for `block_s`; RuntimeError if closed; what the producer refuses.
        """
        size_bytes = len(ask.value)
        pending = self._open(ask, query_id, size_bytes, block_s)
        identity: Headers = [("correlation-id", self._identity + _NUMBER.pack(pending.number))]
        if query_id is None:
            identity.append(("query-id", pending.query_id))
        headers = ask.headers + self._reply_to + identity
        if ask.large:
            assert self._claims is not None
            self._claims.upload(ask.value, partial(self._uploaded, pending, ask, headers, key))
            return pending
        try:
            self._produce(pending, ask.value, headers, key)
        except HeadraceError:
            with self._room:
                self._ledger.refused(pending.number)
            raise
        return pending

    def counts(self) -> Counts:
        """A copy of what was counted so far."""
        with self._room:
            return msgspec.structs.replace(self._ledger.counts)

    def close(self) -> None:
        """Deliver what was submitted, then fail what still waits; may be called again."""
        self._shut(CLOSED)
        if self._claims is not None:
            self._claims.close(FLUSH_S)
        self._outbox.close(FLUSH_S)
        self._mailbox.stop()
        self._fail_all(AnswerMissing(CLOSED))

    def _connect(self, timeout_s: float) -> Mailbox:
        began = time.monotonic()
        end = began + timeout_s
        counted: list[int] = []
        try:
            for topic in (self._queries, self._results):
                partitions = self._outbox.partitions(topic, max(0.1, end - time.monotonic()))
                while partitions is None and time.monotonic() < min(end, began + FRESH_S):
                    time.sleep(LOOK_S)
                    partitions = self._outbox.partitions(topic, max(0.1, end - time.monotonic()))
                if partitions is None:
                    raise topic_missing(self.kafka, topic)
                counted.append(partitions)
            return Mailbox(
                self.kafka, self._results, counted[-1], self._receive,
                on_broken=self._broken, timeout_s=max(0.1, end - time.monotonic()),
            )  # fmt: skip
        except KafkaException as silent:
            raise no_answer(self.kafka, timeout_s, silent.args[0]) from silent

    def _produce(self, pending: Pending, value: bytes, headers: Headers, key: str | bytes | None) -> None:
        size_bytes = len(value)
        try:
            self._outbox.send(
                self._queries, value, key=key, headers=headers,
                done=partial(self._delivered, pending.number, size_bytes),
            )  # fmt: skip
        except Overloaded:
            self._gone.append(size_bytes)
            raise
        except KafkaException as refused:
            self._gone.append(size_bytes)
            raise delivery_error(refused.args[0], self.kafka, what=f"query {pending.query_id}") from refused

    def _uploaded(
        self, pending: Pending, ask: Ask, headers: Headers, key: str | bytes | None, got: str | HeadraceError
    ) -> None:
        """The payload is in the store: now the query goes out, if somebody still waits for it."""
        self._gone.append(len(ask.value))
        if isinstance(got, HeadraceError):
            self._refused(pending.number, got)
            return
        with self._room:
            waited_for = self._ledger.wait_until(pending.number, self._give_up_us(ask))
        if waited_for:
            try:
                self._produce(pending, b"", [*headers, (CLAIM, got)], key)
            except HeadraceError as refused:
                self._refused(pending.number, refused)

    def _refused(self, number: int, error: HeadraceError) -> None:
        with self._room:
            pending = self._ledger.refused(number)
        if pending is not None:
            pending.set_exception(error)

    def _open(self, ask: Ask, query_id: str | None, size_bytes: int, block_s: float) -> Pending:
        if os.getpid() != self._pid:
            raise RuntimeError("this client was made before a fork; make one in each process")
        ledger, room = self._ledger, self._room
        with room:
            if not self._has_room(size_bytes) and threading.current_thread() is not self._mailbox:  # who makes room
                end = time.monotonic() + block_s
                while not self._has_room(size_bytes) and (left_s := end - time.monotonic()) > 0:
                    room.wait(min(left_s, LOOK_S))
            if self._closed is not None:
                raise RuntimeError(self._closed)
            if not self._has_room(size_bytes):
                raise Overloaded(
                    f"{len(ledger)} queries wait for answers (in_flight_max {self._in_flight_max}), "
                    f"{ledger.undelivered_bytes} bytes for the broker (at most {UNDELIVERED_BYTES_MAX})"
                )
            number = next(self._numbers)
            pending = Pending(number, query_id or f"{self._name}-{number}", self._forget)
            give_up_us = _monotonic_us() + self._wait_max_us if ask.large else self._give_up_us(ask)
            ledger.open(pending, size_bytes=size_bytes, give_up_us=give_up_us)
        return pending

    def _has_room(self, size_bytes: int) -> bool:
        """Also true once closed, so that nobody waits on."""
        while self._gone:
            self._ledger.delivered(self._gone.popleft())
        if self._fetching and self._fetching + len(self._ledger) >= self._in_flight_max:
            return self._closed is not None
        return self._closed is not None or self._ledger.room(size_bytes)

    def _give_up_us(self, ask: Ask) -> int:
        left_us = ask.slo_us
        if ask.expires_us is not None:
            left_us = max(0, ask.expires_us - wall_us())
        patience_us = self._wait_max_us if left_us is None else left_us + self._grace_us
        return _monotonic_us() + (max(patience_us, self._wait_max_us) if ask.patient else patience_us)

    def _forget(self, number: int) -> bool:
        with self._room:
            return self._ledger.forget(number)

    def _delivered(self, number: int, size_bytes: int, error: KafkaError | None, _message: Message) -> None:
        self._gone.append(size_bytes)  # no lock for what nearly always happens
        if error is None:
            return
        with self._room:
            pending = self._ledger.refused(number)
        if pending is not None:
            pending.set_exception(delivery_error(error, self.kafka, what=f"query {pending.query_id}"))

    def _receive(self, messages: list[Message]) -> None:
        ledger, ours = self._ledger, self._identity
        headed = [(message, cast("Received", message.headers() or ())) for message in messages]
        numbers = [_number(headers, ours) for _, headers in headed]
        found: list[tuple[Pending, Message, Received]] = []
        with self._room:
            for number, (message, headers) in zip(numbers, headed, strict=True):
                if number is None:
                    ledger.counts.foreign += 1
                elif isinstance(waiting := ledger.answered(number), Pending):
                    found.append((waiting, message, headers))
            overdue = ledger.due(now_us=_monotonic_us())
            if len(ledger) <= self._in_flight_low:
                self._room.notify_all()
        for pending, message, headers in found:
            self._complete(pending, message, headers)
        for pending in overdue:
            pending.set_exception(AnswerMissing(f"no answer to {pending.query_id} within its deadline and the grace"))

    def _complete(self, pending: Pending, message: Message, headers: Received) -> None:
        try:
            answer = read_answer(headers, message.value(), topic=self._results)
        except ValueError as unreadable:
            with self._room:
                self._ledger.counts.unreadable += 1
            pending.set_exception(BadRecord(f"the answer to {pending.query_id} cannot be read: {unreadable}"))
            return
        if answer.claim is None:
            pending.set_result(Reply(answer))
        elif self._claims is None:
            claim = f"the answer to {pending.query_id} is in a store, as {answer.claim}"
            pending.set_exception(NoStore(f"{claim}; this client has none: {SET_STORE}"))
        else:
            with self._room:
                self._fetching += 1
            self._claims.download(answer.claim, partial(self._fetched, pending, answer))

    def _fetched(self, pending: Pending, answer: Answer, got: bytes | HeadraceError) -> None:
        with self._room:
            self._fetching -= 1
        if isinstance(got, HeadraceError):
            pending.set_exception(got)
        else:
            pending.set_result(Reply(msgspec.structs.replace(answer, value=got)))

    def _broken(self, error: Exception) -> None:
        self._shut(f"the client's mailbox failed: {error}")
        self._fail_all(Unreachable(f"the answers of {self.kafka.bootstrap} can no longer be read: {error}"))

    def _shut(self, why: str) -> None:
        with self._room:
            self._closed = self._closed or why
            self._room.notify_all()

    def _fail_all(self, error: HeadraceError) -> None:
        with self._room:
            left = self._ledger.drain()
        for pending in left:
            pending.set_exception(error)


def _number(headers: Received, identity: bytes) -> int | None:
    """Which of our queries is answered; None if it is another client's."""
    for name, value in headers:
        if name == "correlation-id":
            ours = value is not None and len(value) == 16 and value[:8] == identity
            return _NUMBER.unpack_from(value, 8)[0] if ours else None  # type: ignore[arg-type]
    return None


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1_000
