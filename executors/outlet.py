"""Where an executor's records leave: at once while they are few, a millisecond later and together while they are many.

librdkafka sends what it has as soon as it has it. Of a batch of 32 answers that makes a request for each few of them,
and with five requests on their way its thread spins until one returns: half of an executor's CPU. A linger of 1 ms
makes it one request, but would cost a lone answer a third of its time; so there are two producers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import cast

from confluent_kafka import KafkaError, Message

from executors.held import Held
from streams.bulk import Bulk
from streams.outbox import Done, Headers, Outbox
from streams.settings import KafkaSettings

LINGER_MS = 1
LEAK_US = 500  # records that leave more slowly than one each 500 us gain little by waiting 1 ms for one another
MANY = 4


class Pace:
    """How many records left lately: a bucket that leaks one each LEAK_US."""

    __slots__ = ("_at_us", "_level")

    def __init__(self) -> None:
        self._at_us = 0
        self._level = 0.0

    def many(self, count: int, *, now_us: int) -> bool:
        """Whether the next `count` records, with what left before them, are worth a linger."""
        leaked = max(0, now_us - self._at_us) / LEAK_US
        self._at_us = now_us
        self._level = min(2 * MANY, max(0.0, self._level - leaked) + count)
        return self._level >= MANY


class Told:
    """A record of a burst whose sender wants to hear of it by a call, after the burst's own bookkeeping is done."""

    __slots__ = ("_later", "done", "failed")

    def __init__(self, done: Done | None, later: deque[tuple[Done, KafkaError | None]]) -> None:
        self.done, self.failed = done, False
        self._later = later

    def __call__(self, error: KafkaError | None, _message: Message | None) -> None:
        self.failed = True
        if self.done is not None:
            self._later.append((self.done, error))

    def acked(self) -> None:
        if self.done is not None:
            self._later.append((self.done, None))


class Outlet(Outbox):
    """An outbox whose owner polls it, with producers beside it for what leaves in bursts (streams/bulk.py).

    acked: called in `poll` with the queries whose answers, sent in bursts, the broker has.
    """

    def __init__(self, kafka: KafkaSettings, acked: Callable[[list[Held]], None]) -> None:
        super().__init__(kafka.producer(), name="answers", threaded=False)
        self._bursts: Bulk[Held | Told] = Bulk(kafka.producer(), acked=self._acked, linger_ms=LINGER_MS, name="bursts")
        self._held_acked = acked
        self._told: deque[tuple[Done, KafkaError | None]] = deque()
        self._pace = Pace()
        self._many = False

    def expect(self, count: int, *, now_us: int) -> None:
        """Say that `count` records are about to be sent."""
        self._many = self._pace.many(count, now_us=now_us)

    def answer(self, held: Held, topic: str, value: bytes, *, key: str, partition: int, headers: Headers) -> None:
        """Send a query's answer; `held` is called, or among those acknowledged, once."""
        if self._many:
            self._bursts.send(held, topic, value, key, partition, headers)
        else:
            super().send(topic, value, key=key, partition=partition, headers=headers, done=held)

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | str | None = None,
        partition: int = -1,
        headers: Headers | None = None,
        done: Done | None = None,
    ) -> None:
        """As an outbox does; not in order with what was sent at another pace."""
        if self._many:
            self._bursts.send(Told(done, self._told), topic, value, key, partition, headers or [])
        else:
            super().send(topic, value, key=key, partition=partition, headers=headers, done=done)

    def poll(self, timeout_s: float = 0.0) -> None:
        super().poll(timeout_s)
        self._bursts.poll()
        while self._told:
            done, error = self._told.popleft()
            done(error, cast("Message", None))  # there is none for most of them, and nobody looks at it

    def flush(self, timeout_s: float) -> int:
        left = super().flush(timeout_s) + self._bursts.close(timeout_s)
        self.poll()
        return left

    def _acked(self, sent: list[Held | Told]) -> None:
        held = [one for one in sent if isinstance(one, Held)]
        if held:
            self._held_acked(held)
        if len(held) < len(sent):
            for one in sent:
                if isinstance(one, Told):
                    one.acked()
