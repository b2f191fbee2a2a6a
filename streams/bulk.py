"""Sending a backlog: records whose acknowledgements are counted together instead of one by one.

A delivery callback costs as much as producing the record. So two producers take turns: one fills, while the other
empties; once a producer has nothing left, all that it was given is acknowledged, save what its error callbacks
named. Those are called for each record, as ever. `linger.ms` lets librdkafka send one request per partition for
several records, which a producer without it does for each; so this is for who has more to send than waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from confluent_kafka import KafkaError, Message

from streams.outbox import Headers, Outbox


class Ticket(Protocol):
    """A record on its way, which is its own error callback: called in `poll` if the record was not delivered."""

    @property
    def failed(self) -> bool:
        """Whether it was called."""
        ...

    def __call__(self, error: KafkaError | None, message: Message | None, /) -> None: ...


T = TypeVar("T", bound=Ticket)

LINGER_MS = 10
FILL_S = 0.005  # a generation is closed at that age, if the other producer is empty


class Bulk(Generic[T]):
    """Sends tickets in generations. One thread calls all of it, `poll` at least every 100 ms while `open`.

    acked: called in `poll` with the tickets that the broker has, a generation at a time, in the order of sending.
    Every ticket is either in one call of `acked`, or called itself with the error.
    """

    def __init__(
        self,
        config: dict[str, Any],
        *,
        acked: Callable[[list[T]], None],
        linger_ms: int = LINGER_MS,
        name: str = "bulk",
    ) -> None:
        config = {**config, "linger.ms": linger_ms, "delivery.report.only.error": True}
        self._acked = acked
        self._filling, self._emptying = (Outbox(config, name=f"{name}-{n}", threaded=False) for n in (0, 1))
        self._filled: list[T] = []
        self._sent: list[T] = []  # given to the producer that empties
        self._rebuilt = 0
        self._since = 0.0

    @property
    def open(self) -> bool:
        """Whether anything is not acknowledged yet."""
        return bool(self._filled or self._sent)

    def send(
        self, ticket: T, topic: str, value: bytes | None, key: bytes | str | None, partition: int, headers: Headers
    ) -> None:
        """Queue one record; raises what Outbox.send raises, and has then forgotten the ticket."""
        self._filling.send(topic, value, key=key, partition=partition, headers=headers, done=ticket)
        self._filled.append(ticket)

    def poll(self, timeout_s: float = 0.0) -> None:
        """Run error callbacks, and report what is acknowledged by now."""
        if self._sent:
            self._emptying.poll(timeout_s)
            if not self._emptying:
                sent, self._sent = self._sent, []
                self._report(sent)
        if self._filled:
            self._filling.poll()
            now = time.monotonic()
            if not self._filling:
                filled, self._filled = self._filled, []
                self._report(filled)
            elif not self._sent and now - self._since > FILL_S:
                self._sent, self._filled = self._filled, []
                self._filling, self._emptying = self._emptying, self._filling
                self._since = now

    def _report(self, tickets: list[T]) -> None:
        rebuilt = self._filling.rebuilt + self._emptying.rebuilt
        if rebuilt != self._rebuilt:  # a producer died: not every callback is sure to have come
            self._rebuilt = rebuilt
            for ticket in tickets + self._sent + self._filled:
                if not ticket.failed:
                    ticket(KafkaError(KafkaError._FATAL), None)  # noqa: SLF001 (librdkafka's local codes are named so)
            self._sent, self._filled = [], []
            return
        self._acked([ticket for ticket in tickets if not ticket.failed])

    def close(self, timeout_s: float = 10.0) -> int:
        """Wait for what is queued, report it, and return how many records are left."""
        left = self._emptying.flush(timeout_s) + self._filling.flush(timeout_s)
        self.poll()
        self.poll()
        return left
