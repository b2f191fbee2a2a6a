"""Clients with a store: large payloads and large results pass as if there were no limit; without one, in words."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Message

from headrace import AsyncClient, Client, KafkaSettings
from streams.blobs import BlobSettings, LocalStore, digest_of
from streams.claims import claim_of
from streams.errors import AnswerMissing, BadPayload, ClaimNotFound, NoStore, Overloaded, StoreUnreachable, ValueCorrupt
from streams.query import Query
from streams.records import Answer
from tests.streams.echo import Echo, answer_to, fresh_kafka
from tests.streams.test_client import until

pytestmark = pytest.mark.kafka
LARGE = b"\xff\xd8\xff" + bytes(50_000)
SMALL = b"\xff\xd8\xff" + bytes(500)
WIDE = msgspec.json.encode(
    {"model_name": "m", "outputs": [{"name": "y", "shape": [20_000], "datatype": "FP32", "data": [0.5] * 20_000}]}
)


@pytest.fixture(scope="module")
def kafka(bootstrap: str) -> KafkaSettings:
    return fresh_kafka(bootstrap, value_max_bytes=20_000)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


class Slow(LocalStore):
    """Takes nothing before `gate` is set, and gives nothing before `out` is."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate, self.out = threading.Event(), threading.Event()
        self.out.set()

    def get(self, digest: str, *, size_max_bytes: int) -> bytes:
        assert self.out.wait(20)
        return super().get(digest, size_max_bytes=size_max_bytes)

    def put(self, data: bytes) -> str:
        assert self.gate.wait(20)
        return super().put(data)


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """The store that clients open while the test runs."""
    made = Slow(tmp_path)
    monkeypatch.setattr("streams.claims.open_store", lambda _settings: made)
    yield made
    made.gate.set()
    made.out.set()


def claimed(kafka: KafkaSettings, claim: str) -> Echo:
    """Answers with this claim check, whatever it is."""

    def respond(query: Query, _message: Message) -> list[Answer]:
        answer = answer_to(query, topic=kafka.topic("results"))
        return [msgspec.structs.replace(answer, value=b"", claim=claim)]

    return Echo(kafka, respond)


def test_large_payload_goes_as_a_claim(kafka: KafkaSettings, store: LocalStore) -> None:
    """The query has its own content type, an empty value, and its digest; small ones go as ever."""
    with Echo(kafka) as echo, Client(kafka, blobs=str(store.root)) as client:
        large = client.submit(LARGE, task="t", slo_ms=10_000, query_id="large", key="k")
        replies = client.results([large, client.submit(SMALL, task="t", query_id="small")], 20)
        seen = {query.query_id: (query, message) for query, message in echo.seen}

    query, message = seen["large"]
    assert [reply.ok for reply in replies] == [True, True]
    assert (message.value(), message.key(), query.requirements.content_type) == (b"", b"k", "image/jpeg")
    assert claim_of(message.headers() or []) == digest_of(LARGE).encode()  # type: ignore[arg-type]
    assert store.get(digest_of(LARGE), size_max_bytes=100_000) == LARGE
    assert seen["small"][1].value() == SMALL
    assert claim_of(seen["small"][1].headers() or []) is None  # type: ignore[arg-type]


def test_large_result_arrives_as_if_it_had_been_small(kafka: KafkaSettings, store: LocalStore) -> None:
    """What the header says is fetched, checked and decoded; the reply is complete when the future is."""
    with claimed(kafka, store.put(WIDE)), Client(kafka, blobs=BlobSettings(url=str(store.root))) as client:
        reply = client.ask(SMALL, task="t", timeout=20)

    assert reply.ok
    assert reply.value == WIDE
    assert reply.outputs["y"].shape == (20_000,)  # type: ignore[union-attr]
    assert (reply.variant, reply.answer.claim) == ("echo@cpu", digest_of(WIDE))


def test_async_client_takes_large_values_both_ways(kafka: KafkaSettings, store: LocalStore) -> None:
    """Without holding up the loop: nothing of it runs there."""

    async def main() -> list[bytes]:
        async with AsyncClient(kafka, blobs=str(store.root)) as client:
            replies = await asyncio.gather(*(client.ask(LARGE, task=f"t{n}") for n in range(10)))
            return [reply.value for reply in replies]

    with claimed(kafka, store.put(WIDE)):
        values = asyncio.run(main())

    assert values == [WIDE] * 10


def test_without_a_store_errors_say_what_to_set(kafka: KafkaSettings) -> None:
    """Before a payload is sent, and when a result cannot be had."""
    with claimed(kafka, digest_of(WIDE)), Client(kafka, blobs="") as client:
        with pytest.raises(BadPayload, match=r"50003 bytes; at most 20000 .*HEADRACE_BLOBS__URL"):
            client.submit(LARGE, task="t")
        pending = client.submit(SMALL, task="t")
        with pytest.raises(NoStore, match=rf"{pending.query_id} is in a store, as sha256:.*HEADRACE_BLOBS__URL"):
            pending.result(20)


def test_store_named_by_the_environment_is_found(
    kafka: KafkaSettings, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the cluster is."""
    monkeypatch.setenv("HEADRACE_BLOBS__URL", str(store.root))
    with Echo(kafka), Client(kafka) as client:
        reply = client.ask(LARGE, task="t", timeout=20)

    assert reply.ok
    assert store.exists(digest_of(LARGE))


def test_result_that_cannot_be_fetched_fails_its_future_alone(kafka: KafkaSettings, store: LocalStore) -> None:
    """Pruned, or spoiled: the error is that of the store."""
    spoiled = store.put(b"spoiled")
    next(path for path in store.root.rglob("*") if path.is_file()).write_bytes(b"spoilt!")
    with Client(kafka, blobs=str(store.root)) as client:
        with claimed(kafka, digest_of(b"never")), pytest.raises(ClaimNotFound):
            client.ask(SMALL, task="t", timeout=20)
        with claimed(kafka, spoiled), pytest.raises(ValueCorrupt):
            client.ask(SMALL, task="t", timeout=20)
        with Echo(kafka):
            reply = client.ask(SMALL, task="t", timeout=20)

    assert reply.ok


def test_store_that_refuses_fails_the_future_and_counts(
    kafka: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The query was never sent."""
    with Echo(kafka) as echo, Client(kafka, blobs=str(tmp_path / "gone")) as client:
        (tmp_path / "gone").rmdir()
        (tmp_path / "gone").write_text("a file")
        pending = client.submit(LARGE, task="t")
        with pytest.raises(StoreUnreachable, match="gone"):
            pending.result(20)
        counts = client.counts()
        client.ask(SMALL, task="t", timeout=20)

    assert (counts.submitted, counts.undelivered, client.in_flight) == (1, 1, 0)
    assert len(echo.seen) == 1


def test_patience_begins_when_the_payload_is_stored(
    kafka: KafkaSettings, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload of a minute, a deadline of 100 ms and a grace of 10 s: the answer is waited for."""
    passed_us = 0
    monkeypatch.setattr("streams.exchange._monotonic_us", lambda: time.monotonic_ns() // 1_000 + passed_us)
    with Echo(kafka), Client(kafka, blobs="any", wait_max_s=300, grace_s=10) as client:
        pending = client.submit(LARGE, task="t", slo_ms=100)
        passed_us = 60_000_000
        with pytest.raises(TimeoutError):
            pending.result(0.3)  # several looks at what is overdue
        slow.gate.set()
        reply = pending.result(20)

    assert reply.ok


def test_upload_that_never_ends_is_given_up(kafka: KafkaSettings, slow: Slow) -> None:
    """After the longest wait; when the store has it at last, nothing is sent any more."""
    with Echo(kafka) as echo, Client(kafka, blobs="any", wait_max_s=0.5) as client:
        pending = client.submit(LARGE, task="t", slo_ms=100)
        with pytest.raises(AnswerMissing):
            pending.result(20)
        slow.gate.set()
        claims = client._exchange._claims
        assert claims is not None
        until(lambda: claims.waiting == 0)
        client.ask(SMALL, task="t", timeout=20)

    assert [message.value() for _, message in echo.seen] == [SMALL]


def test_payloads_that_wait_for_the_store_are_bounded(
    kafka: KafkaSettings, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those that wait for the broker; cancelled ones are not sent."""
    monkeypatch.setattr("streams.exchange.UNDELIVERED_BYTES_MAX", 120_000)
    with Echo(kafka) as echo, Client(kafka, blobs="any") as client:
        pendings = [client.submit(LARGE, task="t") for _ in range(2)]
        with pytest.raises(Overloaded):
            client.submit(LARGE, task="t", block=False)
        pendings[0].cancel()
        slow.gate.set()
        reply = pendings[1].result(20)
        again = client.ask(LARGE, task="t", timeout=20)

    assert reply.ok
    assert again.ok
    assert echo.seen[0][0].query_id == pendings[1].query_id


def test_results_that_wait_for_the_store_count_as_in_flight(kafka: KafkaSettings, slow: Slow) -> None:
    """Two answers came and hang in the store: there is no room for a third query before one of them is whole."""
    slow.gate.set()
    slow.out.clear()
    with claimed(kafka, slow.put(WIDE)), Client(kafka, blobs="any", in_flight_max=2) as client:
        pendings = [client.submit(SMALL, task="t") for _ in range(2)]
        until(lambda: client._exchange._fetching == 2)
        done = [pending.done() for pending in pendings]
        with pytest.raises(Overloaded):
            client.submit(SMALL, task="t", block=False)
        slow.out.set()
        replies = client.results(pendings, 20)
        third = client.ask(SMALL, task="t", timeout=20)

    assert done == [False, False]
    assert [reply.value for reply in [*replies, third]] == [WIDE] * 3


def test_close_sends_what_was_submitted_and_leaves_no_future_open(kafka: KafkaSettings, slow: Slow) -> None:
    """The upload is waited for, the query goes out, its answer is not waited for."""
    with Echo(kafka, lambda _query, _message: []) as echo:
        client = Client(kafka, blobs="any")
        pending = client.submit(LARGE, task="t")
        threading.Timer(0.2, slow.gate.set).start()
        client.close()
        until(lambda: len(echo.seen) == 1)

    with pytest.raises(AnswerMissing, match="closed"):
        pending.result(0)


def test_equal_payloads_are_kept_once(kafka: KafkaSettings, store: LocalStore) -> None:
    """They have one name."""
    with Echo(kafka), Client(kafka, blobs=str(store.root)) as client:
        client.results([client.submit(LARGE, task="t") for _ in range(8)], 20)

    assert [path.name for path in store.root.rglob("*") if path.is_file()] == [digest_of(LARGE).removeprefix("sha256:")]
