"""Sending what ends a query, so that it does end: with fallbacks, and a call when the broker has it."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message

from streams.answers import error_value, headers_of
from streams.claims import Claims
from streams.clock import NEVER
from streams.contract import INTERNAL, Outcome
from streams.errors import DeadlinePassed, HeadraceError, Overloaded, ResultTooLarge
from streams.outbox import Headers, Outbox
from streams.records import Answer
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

TRIES_MAX = 30  # each of them waits delivery.timeout.ms (10 s): after 5 minutes the record is left uncommitted

CUT = "cut-from-bytes"  # on a dead letter of which only the beginning could be kept
CUT_BYTES = 1_024  # of its value, its key and each header

TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.RECORD_LIST_TOO_LARGE})
PERMANENT = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_RECORD,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 (librdkafka's local codes are named so)
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)


class Terminal:
    """Sends answers and dead letters; `acked` is called once the broker has one of them, and only then.

    Fallbacks, in this order: a result too large goes to the store, and its claim check out in its place; without a
    store it becomes `failed`. A reply topic that refuses is replaced by `results`, and that by dead-letters. An
    ambiguous failure (a timeout) is sent again, marked as a duplicate.
    """

    def __init__(self, outbox: Outbox, kafka: KafkaSettings, claims: Claims | None = None) -> None:
        self._outbox = outbox
        self._results = kafka.topic("results")
        self._dead = kafka.topic("dead-letters")
        self._value_max_bytes = kafka.value_max_bytes
        self._claims = claims
        self._uploads: dict[int, _Upload] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.unsent = 0  # queries given up on for now; their offsets stay uncommitted

    def answer(self, answer: Answer, acked: Callable[[], None], *, tries: int = 1, deadline_us: int = NEVER) -> None:
        """Send one terminal answer.

        Units: `deadline_us` since the epoch; it matters to a result that goes to the store first (`expire`).
        """
        if len(answer.value) > self._value_max_bytes:
            self._oversize(answer, acked, tries, deadline_us)
            return

        def done(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                acked()
            else:
                self._answer_failed(answer, error, acked, tries)

        try:
            self._outbox.send(
                answer.reply_topic, answer.value, key=answer.query_id, partition=answer.reply_partition,
                headers=headers_of(answer), done=done,
            )  # fmt: skip
        except KafkaException as refused:
            self._answer_failed(answer, refused.args[0], acked, tries)
        except Overloaded as full:
            self._give_up(f"answer to {answer.query_id}: {full}")

    def dead_letter(self, message: Message, error: HeadraceError, acked: Callable[[], None]) -> None:
        """Copy a record that cannot be answered, untouched, with the reason as headers."""
        self._bury(_copied_headers(message) + _reason(message, error), message.key(), message.value(), acked, 1)

    def expire(self, *, now_us: int) -> None:
        """Answer `expired` in the place of results whose deadline came before the store had them."""
        for upload in [one for one in list(self._uploads.values()) if one.deadline_us <= now_us]:
            if self._uploads.pop(upload.number, None) is None:
                continue
            error = DeadlinePassed(f"the deadline passed while {len(upload.answer.value)} bytes went to the store")
            expired = _instead(upload.answer, Outcome.EXPIRED, error)
            self.answer(_later(expired, upload), upload.acked, tries=upload.tries)

    def _oversize(self, answer: Answer, acked: Callable[[], None], tries: int, deadline_us: int) -> None:
        size, limit = len(answer.value), self._value_max_bytes
        if self._claims is None or size > self._claims.size_max_bytes:
            limit = limit if self._claims is None else self._claims.size_max_bytes
            self.answer(_too_large(answer, size, limit), acked, tries=tries)
            return
        upload = _Upload(next(self._numbers), answer, acked, tries, deadline_us, time.monotonic_ns() // 1_000)
        self._uploads[upload.number] = upload
        self._claims.upload(answer.value, partial(self._uploaded, upload))

    def _uploaded(self, upload: _Upload, got: str | HeadraceError) -> None:
        if self._uploads.pop(upload.number, None) is None:
            return  # expired meanwhile
        if isinstance(got, HeadraceError):
            answer = _instead(upload.answer, Outcome.FAILED, got)
        else:
            answer = msgspec.structs.replace(upload.answer, value=b"", claim=got)
        self.answer(_later(answer, upload), upload.acked, tries=upload.tries)

    def _answer_failed(self, answer: Answer, error: KafkaError, acked: Callable[[], None], tries: int) -> None:
        if error.code() in TOO_LARGE:
            if answer.code == ResultTooLarge.code:
                self._bury(headers_of(answer), answer.query_id, answer.value, acked, 1)
                return
            if answer.claim is None:  # the topic takes less than the settings say
                self._oversize(answer, acked, tries, NEVER)
            else:
                self.answer(_too_large(answer, 0, self._value_max_bytes), acked, tries=tries)
        elif error.code() in PERMANENT:
            log.warning("reply topic refuses", extra={"topic": answer.reply_topic, "error": error.str()})
            if answer.reply_topic == self._results and answer.reply_partition < 0:
                self._bury(headers_of(answer), answer.query_id, answer.value, acked, 1)
                return
            elsewhere = msgspec.structs.replace(answer, reply_topic=self._results, reply_partition=-1)
            self.answer(elsewhere, acked, tries=tries)
        elif tries >= TRIES_MAX:
            self._give_up(f"answer to {answer.query_id}: {error.str()} after {tries} tries")
        else:  # a timeout, or a producer that died: the broker may have it all the same
            self.answer(msgspec.structs.replace(answer, duplicate=True), acked, tries=tries + 1)

    def _bury(
        self, headers: Headers, key: str | bytes | None, value: bytes | None, acked: Callable[[], None], tries: int
    ) -> None:
        def done(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                acked()
            else:
                failed(error)

        def failed(error: KafkaError) -> None:
            if error.code() in TOO_LARGE and CUT not in dict(
                headers
            ):  # gzip can make a large record small, for a while
                self._bury(*_cut(headers, key, value), acked, tries)
            elif error.code() in PERMANENT or error.code() in TOO_LARGE or tries >= TRIES_MAX:
                self._give_up(f"dead letter: {error.str()} after {tries} tries")
            else:
                self._bury(headers, key, value, acked, tries + 1)

        try:
            self._outbox.send(self._dead, value, key=key, headers=headers, done=done)
        except KafkaException as refused:
            failed(refused.args[0])
        except Overloaded as full:
            self._give_up(f"dead letter: {full}")

    def _give_up(self, what: str) -> None:
        with self._lock:
            self.unsent += 1
        log.error("left uncommitted, so that it is read again after a restart", extra={"what": what})


class _Upload(NamedTuple):
    """An answer whose value is on its way to the store. Units: `begun_us` by the monotonic clock."""

    number: int
    answer: Answer
    acked: Callable[[], None]
    tries: int
    deadline_us: int
    begun_us: int


def _later(answer: Answer, upload: _Upload) -> Answer:
    """With the time of the upload in its latency."""
    took_us = time.monotonic_ns() // 1_000 - upload.begun_us
    return msgspec.structs.replace(answer, latency_us=answer.latency_us + took_us)


def _too_large(answer: Answer, size: int, limit: int) -> Answer:
    error = ResultTooLarge(f"the result has {size} bytes; at most {limit} can be sent")
    return _instead(answer, Outcome.FAILED, error)


def _instead(answer: Answer, outcome: Outcome, error: HeadraceError) -> Answer:
    return msgspec.structs.replace(answer, outcome=outcome, code=error.code, value=error_value(error), claim=None)


def _cut(
    headers: Headers, key: str | bytes | None, value: bytes | None
) -> tuple[Headers, str | bytes | None, bytes | None]:
    """What can be kept of a record that no topic takes whole: the reason, which stands last, and the beginnings."""
    size = len(value or b"") + sum(len(name) + len(content or b"") for name, content in headers)
    kept = [header for header in headers if len(header[0]) + len(header[1] or b"") <= CUT_BYTES][-64:]
    return [*kept, (CUT, str(size))], key and key[:CUT_BYTES], value and value[:CUT_BYTES]


def _copied_headers(message: Message) -> Headers:
    carried = cast("Headers", message.headers() or [])
    return [header for header in carried if header[0] != INTERNAL]


def _reason(message: Message, error: HeadraceError) -> Headers:
    # Kafka Connect's names, which tools already show; the first failure's set stays if there is one.
    return [
        ("__connect.errors.topic", message.topic()),
        ("__connect.errors.partition", str(message.partition())),
        ("__connect.errors.offset", str(message.offset())),
        ("__connect.errors.exception.class.name", type(error).__name__),
        ("__connect.errors.exception.message", error.message),
        ("error-code", error.code),
        ("disposition", "poison"),
    ]
