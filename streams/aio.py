"""The client for asyncio: the same engine, its futures handed to the loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

from streams.asking import Asked, Payload
from streams.client import Client
from streams.errors import Overloaded
from streams.pending import Counts
from streams.reply import Reply
from streams.settings import KafkaSettings

ROOM_S = 0.005  # how often `ask` looks for room when `in_flight_max` queries wait


class AsyncPending(asyncio.Future[Reply]):
    """The future of one query; awaiting it gives the reply, cancelling it forgets the query here."""

    query_id: str


class AsyncClient:
    """Asks Headrace over Kafka from one event loop: `async with AsyncClient() as client`.

    Takes what `Client` takes; what is said there of limits and of `fork` holds here.
    """

    def __init__(self, kafka: KafkaSettings | None = None, *, block_s: float = 30.0, **limits: Any) -> None:
        self._kafka, self._block_s, self._limits = kafka, block_s, limits
        self._client: Client | None = None
        self._done: deque[tuple[AsyncPending, Future[Reply]]] = deque()
        self._waking = False

    def submit(self, payload: Payload, **asked: Unpack[Asked]) -> AsyncPending:
        """Send one query without waiting for anything.

        Raises: as `Client.submit`; Overloaded at once if `in_flight_max` queries wait.
        """
        client = self._connected()
        pending = client.submit(payload, block=False, **asked)
        future = AsyncPending(loop=self._loop)
        future.query_id = pending.query_id
        future.add_done_callback(lambda done: pending.cancel() if done.cancelled() else None)
        pending.add_done_callback(partial(self._hand_over, future))
        return future

    async def ask(self, payload: Payload, **asked: Unpack[Asked]) -> Reply:
        """Send one query, waiting for room if there is none, and give its reply; cancelling it forgets the query.

        Raises: as `Client.submit` and `Pending.result`.
        """
        give_up = time.monotonic() + self._block_s
        while True:
            try:
                return await self.submit(payload, **asked)
            except Overloaded:
                if time.monotonic() > give_up:
                    raise
            await asyncio.sleep(ROOM_S)

    @property
    def in_flight(self) -> int:
        """How many queries wait for an answer."""
        return self._connected().in_flight

    def counts(self) -> Counts:
        """What became of this client's queries and of the answers that it has seen."""
        return self._connected().counts()

    async def close(self) -> None:
        """Deliver what was submitted, then fail what still waits with AnswerMissing; may be called again."""
        if self._client is not None:
            await asyncio.to_thread(self._client.close)
            self._wake()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._client = await asyncio.to_thread(Client, self._kafka, block_s=self._block_s, **self._limits)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _connected(self) -> Client:
        if self._client is None:
            raise RuntimeError("use `async with AsyncClient() as client`: it connects there")
        return self._client

    def _hand_over(self, future: AsyncPending, pending: Future[Reply]) -> None:
        # In the mailbox's thread. One wake-up serves all that complete before the loop gets to it.
        self._done.append((future, pending))
        if not self._waking and not self._loop.is_closed():
            self._waking = True
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._waking = False
        while self._done:
            future, pending = self._done.popleft()
            if future.done():
                continue
            if pending.cancelled():
                future.cancel()
            elif (error := pending.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(pending.result())
