"""The asyncio face: the same engine, awaited."""

from __future__ import annotations

import asyncio
import time

import pytest
from confluent_kafka import Message

from headrace import AsyncClient, KafkaSettings
from streams.errors import AnswerMissing, NoTarget, Overloaded, Unreachable
from streams.query import Query
from streams.records import Answer
from tests.streams.echo import Echo, answer_to, fresh_kafka

pytestmark = pytest.mark.kafka
JPEG = b"\xff\xd8\xff" + bytes(500)


@pytest.fixture(scope="module")
def kafka(bootstrap: str) -> KafkaSettings:
    return fresh_kafka(bootstrap)


def silent(_query: Query, _message: Message) -> list[Answer]:
    return []


async def until_dropped(client: AsyncClient, count: int) -> None:
    async with asyncio.timeout(10):
        while client.counts().dropped < count:  # noqa: ASYNC110 (counted in another thread, which tells nobody)
            await asyncio.sleep(0.01)


def test_ask_many_at_once_every_reply_is_its_own(kafka: KafkaSettings) -> None:
    """2,000 awaited together; `submit` gives futures that know their query's id."""

    async def main() -> list[tuple[str, list[str]]]:
        async with AsyncClient(kafka) as client:
            first = client.submit(JPEG, task="first", query_id="q")
            replies = await asyncio.gather(*(client.ask(JPEG, task=f"t{n}") for n in range(2_000)))
            return [(first.query_id, (await first).labels), *(("", reply.labels) for reply in replies)]

    with Echo(kafka):
        got = asyncio.run(main())

    assert got == [("q", ["first"]), *(("", [f"t{n}"]) for n in range(2_000))]


def test_cancelled_await_forgets_the_query(kafka: KafkaSettings) -> None:
    """A timeout around `ask` cancels here; the answer is dropped when it comes."""

    def slow(query: Query, _message: Message) -> list[Answer]:
        time.sleep(0.3)
        return [answer_to(query, topic=kafka.topic("results"))]

    async def main() -> tuple[int, int]:
        async with AsyncClient(kafka) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.ask(JPEG, task="t")
            await until_dropped(client, 1)
            return client.in_flight, client.counts().cancelled

    with Echo(kafka, slow):
        assert asyncio.run(main()) == (0, 1)


def test_silence_and_close_raise_answer_missing(kafka: KafkaSettings) -> None:
    """An awaited query ends with its deadline, and at the latest with the client."""

    async def main() -> None:
        async with AsyncClient(kafka, grace_s=0.1) as client:
            with pytest.raises(AnswerMissing):
                await client.ask(JPEG, task="t", slo_ms=50)
            left = client.submit(JPEG, task="t")
        with pytest.raises(AnswerMissing, match="closed"):
            await left

    with Echo(kafka, silent):
        asyncio.run(main())


def test_full_client_submit_raises_and_ask_waits_for_room(kafka: KafkaSettings) -> None:
    """Nothing ever blocks the loop: `submit` says Overloaded at once, `ask` comes back for room."""

    def some(query: Query, _message: Message) -> list[Answer]:
        return [] if query.requirements.target == "never" else [answer_to(query, topic=kafka.topic("results"))]

    async def main() -> list[str]:
        async with AsyncClient(kafka, in_flight_max=1, block_s=20) as client:
            never = client.submit(JPEG, task="never")
            with pytest.raises(Overloaded):
                client.submit(JPEG, task="t")
            asyncio.get_running_loop().call_later(0.1, never.cancel)
            return (await client.ask(JPEG, task="t")).labels

    with Echo(kafka, some):
        assert asyncio.run(main()) == ["t"]


def test_errors_come_as_in_the_other_client(kafka: KafkaSettings) -> None:
    """Malformed before it is sent, unreachable where the client connects, unopened is a bug."""

    async def main() -> None:
        async with AsyncClient(kafka) as client:
            with pytest.raises(NoTarget):
                await client.ask(JPEG)
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
            async with AsyncClient(bootstrap="127.0.0.1:1", connect_timeout_s=0.3):
                pass
        with pytest.raises(RuntimeError, match="async with"):
            AsyncClient(kafka).submit(JPEG, task="t")

    asyncio.run(main())
