"""Where an executor's records leave: at once while they are few, together where they are many.

librdkafka sends what it has as soon as it has it. An idempotent producer (2.16) sends no more to a partition while five
records are on their way there, and where more are due by then its thread spins until the broker answers: half of an
executor's CPU for batches of 32, and all of a core while a broker stalls. A linger of 1 ms makes one request of a
burst, but would cost a lone answer a third of its time. So there are two ways: one for lone records, and one for
bursts, on which the next burst is held until the broker has the last.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast

from confluent_kafka import KafkaError, KafkaException, Message

from executors.held import Held
from streams.bulk import Bulk
from streams.errors import Overloaded
from streams.outbox import Done, Headers, Outbox
from streams.pace import LINGER_MS, Pace
from streams.settings import KafkaSettings

ALONE_MAX = 4  # lone records on their way at once, that none waits beside five
BURST_MAX = 256  # records that leave together: more take longer to hand over than the linger


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


class Burst(NamedTuple):
    """A record that waits for its burst to leave."""

    ticket: Held | Told
    topic: str
    value: bytes | None
    key: bytes | str | None
    partition: int
    headers: Headers


class Outlet(Outbox):
    """An outbox whose owner polls it, at least every millisecond while `holds`.

    acked: called in `poll` with the queries whose answers, sent in bursts, the broker has.
    """

    def __init__(self, kafka: KafkaSettings, acked: Callable[[list[Held]], None]) -> None:
        super().__init__(kafka.producer(), name="answers", threaded=False)
        self._bursts: Bulk[Held | Told] = Bulk(kafka.producer(), acked=self._acked, linger_ms=LINGER_MS, name="bursts")
        self._held: deque[Burst] = deque()  # bounded by what the executor has in flight
        self._held_acked = acked
        self._told: deque[tuple[Done, KafkaError | None]] = deque()
        self._pace = Pace()
        self._many = False

    @property
    def holds(self) -> bool:
        """Whether records wait for the last burst to arrive."""
        return bool(self._held)

    def expect(self, count: int, *, now_us: int) -> None:
        """Say that `count` records are about to be sent."""
        self._many = self._pace.many(count, now_us=now_us)

    def answer(self, held: Held, topic: str, value: bytes, *, key: str, partition: int, headers: Headers) -> None:
        """Send a query's answer; `held` is called, or among those acknowledged, once."""
        if self._alone():
            super().send(topic, value, key=key, partition=partition, headers=headers, done=held)
        else:
            self._held.append(Burst(held, topic, value, key, partition, headers))

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
        """As an outbox does, but not in order with what was sent in the other way, and refused by a call alone."""
        if self._alone():
            super().send(topic, value, key=key, partition=partition, headers=headers, done=done)
        else:
            self._held.append(Burst(Told(done, self._told), topic, value, key, partition, headers or []))

    def poll(self, timeout_s: float = 0.0) -> None:
        super().poll(timeout_s)
        self._bursts.poll()
        if self._held and not self._bursts.open:
            self._release()
        while self._told:
            done, error = self._told.popleft()
            done(error, cast("Message", None))  # there is none for most of them, and nobody looks at it

    def __len__(self) -> int:
        return super().__len__() + len(self._held) + self._bursts.open

    def flush(self, timeout_s: float) -> int:
        end = time.monotonic() + timeout_s
        while self._held and time.monotonic() < end:
            self.poll(0.005)
        left = super().flush(max(0.0, end - time.monotonic())) + self._bursts.close(max(0.0, end - time.monotonic()))
        self.poll()
        return left + len(self._held)

    def _alone(self) -> bool:
        return not self._many and super().__len__() < ALONE_MAX

    def _release(self) -> None:
        """Let what is held leave together."""
        held = self._held
        for _ in range(min(len(held), BURST_MAX)):
            burst = held[0]
            try:
                self._bursts.send(*burst)
            except KafkaException as refused:
                burst.ticket(refused.args[0], None)
            except Overloaded:
                return  # the rest waits on
            held.popleft()

    def _acked(self, sent: list[Held | Told]) -> None:
        held = [one for one in sent if isinstance(one, Held)]
        if held:
            self._held_acked(held)
        if len(held) < len(sent):
            for one in sent:
                if isinstance(one, Told):
                    one.acked()
