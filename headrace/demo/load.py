"""Sending at a rate, open loop: the next query goes out at its time, whatever became of those before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

from headrace.demo.ledger import Ledger
from headrace.demo.queries import Query
from headrace.tail import Tail
from streams.asking import Asked
from streams.client import Client
from streams.clock import wall_us
from streams.settings import KafkaSettings

LISTEN_S = 0.1


class Load:
    """A client that sends, and a reader beside it that hears every copy of every answer.

    Use it as a context manager. The reader starts first, so that no answer is missed.
    """

    def __init__(self, kafka: KafkaSettings, ledger: Ledger, *, run: str) -> None:
        self._client = Client(kafka)
        self._tail = Tail(kafka, partition=self._client.partition)
        self._ledger = ledger
        self._run = run
        self._sent = 0
        self._stop_requested = threading.Event()
        self._reader = threading.Thread(target=self._read, name="demo-answers", daemon=True)
        self._reader.start()

    def send(self, query: Query, phase: str) -> None:
        """Send one query, entered in the ledger first."""
        query_id = f"demo-{self._run}-{self._sent}"
        self._sent += 1
        asked: Asked = {
            "task": query.task if query.variant is None else None, "variant": query.variant, "slo_ms": query.slo_ms,
            "accuracy_min": query.accuracy_min, "on_miss": query.on_miss, "content_type": query.content_type,
            "query_id": query_id,
        }  # fmt: skip
        self._ledger.ask(query_id, query, phase, now_us=wall_us())
        self._client.submit(query.payload, **asked)

    def at_rate(self, draw: Callable[[], Query], *, rate_qps: float, seconds: float, phase: str) -> float:
        """Send evenly for so long; returns by how many seconds it fell behind at worst."""
        start, behind, number = time.monotonic(), 0.0, 0
        while (due := number / rate_qps) < seconds:
            wait = start + due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            behind = max(behind, -wait)
            self.send(draw(), phase)
            number += 1
        return behind

    def wait(self, timeout_s: float) -> int:
        """Until everything is answered, or the patience ends; returns how many queries have no answer."""
        end = time.monotonic() + timeout_s
        while (left := self._ledger.totals().open) and time.monotonic() < end:
            time.sleep(LISTEN_S)
        return left

    def close(self) -> None:
        self._client.close()
        self._stop_requested.set()
        self._reader.join(5.0)
        self._tail.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def _read(self) -> None:
        while not self._stop_requested.is_set():
            for heard in self._tail.listen(LISTEN_S):
                self._ledger.hear(heard.answer, at_us=heard.at_us)
