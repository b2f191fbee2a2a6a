"""The client for threads: `submit` a query, get a future, look at the reply."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, Unpack

from streams.asking import Asked, AskWriter, Payload
from streams.blobs import BlobSettings
from streams.claims import Claims
from streams.contract import AccuracyBound, OnMiss
from streams.exchange import Exchange, Patience
from streams.pending import Counts, Pending
from streams.reply import Reply
from streams.settings import KafkaSettings


class Client:
    """Asks Headrace over Kafka; safe to share among threads, so one a process is enough.

    Use it as a context manager, or call `close`. Not to be used across `fork`: librdkafka's threads do not
    survive it. Make the client after the fork, in each process (multiprocessing's "spawn" is safe).

    blobs:         the store for payloads and results too large for a record: a URL or the whole section; without it
                   the one that HEADRACE_BLOBS__URL names, if any.
    in_flight_max: queries that may wait for an answer; beyond it `submit` waits up to `block_s`.
    grace_s:       after a deadline, before AnswerMissing: 6 s that a takeover may need, and a margin.
    wait_max_s:    the same for a query without a deadline, or with on_miss="late".
    """

    def __init__(
        self,
        kafka: KafkaSettings | None = None,
        *,
        bootstrap: str | None = None,
        blobs: BlobSettings | str | None = None,
        connect_timeout_s: float = 10.0,
        in_flight_max: int = 10_000,
        block_s: float = 30.0,
        grace_s: float = 10.0,
        wait_max_s: float = 300.0,
    ) -> None:
        """Connect, choose a partition of `results` and find its end.

        Raises: Unreachable, TopicMissing, NotAuthorized, BadSettings, StoreUnreachable.
        """
        kafka = kafka or KafkaSettings()
        self.kafka = kafka.model_copy(update={"bootstrap": bootstrap}) if bootstrap else kafka
        self._block_s = block_s
        claims = Claims.opened(BlobSettings(url=blobs) if isinstance(blobs, str) else blobs or BlobSettings())
        store_max_bytes = None if claims is None else claims.size_max_bytes
        self._writer = AskWriter(value_max_bytes=self.kafka.value_max_bytes, store_max_bytes=store_max_bytes)
        self._exchange = Exchange(
            self.kafka,
            claims,
            in_flight_max=in_flight_max,
            patience=Patience(connect_s=connect_timeout_s, grace_s=grace_s, wait_max_s=wait_max_s),
        )

    def submit(
        self,
        payload: Payload,
        *,
        task: str | None = None,
        model: str | None = None,
        variant: str | None = None,
        slo_ms: float | None = None,
        expires_at: float | datetime | None = None,
        accuracy_min: float | None = None,
        accuracy_bound: AccuracyBound | str | None = None,
        cost_max: float | None = None,
        priority: int | None = None,
        on_miss: OnMiss | str | None = None,
        query_id: str | None = None,
        content_type: str | None = None,
        key: str | bytes | None = None,
        headers: Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]] | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
        explain: bool | None = None,
        block: bool = True,
    ) -> Pending:
        """Send one query; one of `task`, `model`, `variant` says what is asked (units: see `Asked`).

        `payload` is an array (sent as npy), a dict (an Open Inference Protocol v2 request, or arrays by input
        name) or bytes (JPEG, PNG and npy are recognised, others need `content_type`). `headers` are carried
        along. A payload too large for a record goes to the store first, in a thread: its deadline begins after
        that, and the future fails with StoreUnreachable if it cannot. A failed outcome is a reply like any other.

        Raises: ClientFault leaves if the query is malformed; Overloaded if `in_flight_max` queries wait, at
                once without `block`, else after `block_s`; RuntimeError on a closed client.
        """
        asked = Asked(
            task=task, model=model, variant=variant, slo_ms=slo_ms, expires_at=expires_at, accuracy_min=accuracy_min,
            accuracy_bound=accuracy_bound, cost_max=cost_max, priority=priority, on_miss=on_miss, query_id=query_id,
            content_type=content_type, key=key, headers=headers, traceparent=traceparent, tracestate=tracestate,
            explain=explain,
        )  # fmt: skip
        ask = self._writer.write(payload, asked)
        return self._exchange.send(ask, query_id=query_id, key=key, block_s=self._block_s if block else 0.0)

    def ask(self, payload: Payload, *, timeout: float | None = None, **asked: Unpack[Asked]) -> Reply:
        """`submit` and wait for the reply; a query that `timeout` gave up on is cancelled.

        Raises: as `submit` and `Pending.result`.
        """
        pending = self.submit(payload, **asked)
        try:
            return pending.result(timeout)
        finally:
            pending.cancel()

    @staticmethod
    def result(pending: Pending, timeout: float | None = None) -> Reply:
        return pending.result(timeout)

    @staticmethod
    def results(pendings: Iterable[Pending], timeout: float | None = None) -> list[Reply]:
        """The replies in the order of `pendings`, all of them within `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        return [pending.result(None if end is None else max(0.0, end - time.monotonic())) for pending in pendings]

    @staticmethod
    def as_completed(pendings: Iterable[Pending], timeout: float | None = None) -> Iterator[Pending]:
        """The futures in the order in which they complete. Raises: TimeoutError."""
        return concurrent.futures.as_completed(pendings, timeout)  # type: ignore[return-value]

    @property
    def in_flight(self) -> int:
        """How many queries wait for an answer."""
        return self._exchange.in_flight

    @property
    def partition(self) -> int:
        """The partition of `results` that answers to this client come to."""
        return self._exchange.partition

    def counts(self) -> Counts:
        """What became of this client's queries and of the answers that it has seen."""
        return self._exchange.counts()

    def close(self) -> None:
        """Deliver what was submitted, then fail what still waits with AnswerMissing; may be called again."""
        self._exchange.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
