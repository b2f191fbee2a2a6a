"""Payloads that are fetched: what comes of each, and what is not fetched at all."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Message

from executors.fetching import Fetching
from executors.held import Held
from executors.job import Job
from executors.processing import Preparation
from streams.blobs import BlobSettings, LocalStore, digest_of
from streams.claims import Claims
from streams.clock import NEVER
from streams.errors import BadPayload, ClaimNotFound, DeadlinePassed, EmptyPayload, NoStore
from streams.openinference import Array
from streams.prefix import Prefix
from streams.records import Dispatch


class Record:
    """As much of a message as is looked at."""

    def __init__(self, headers: list[tuple[str, bytes | None]] | None) -> None:
        self.headers = lambda: headers


def held(*headers: tuple[str, bytes | None]) -> Held:
    dispatch = Dispatch(query_id="q", variant="v", deadline_us=NEVER, arrived_us=0, reply_topic="r", content_type="x/y")
    return Held(cast("Message", Record([*headers] or None)), Prefix(0, fence=0), 0, dispatch, False)


def job(**state: Any) -> Job:
    return Job(variant="v", deadline_us=NEVER, queued_us=0, **state)


class Bench:
    """A store in a folder, and what came of each job."""

    def __init__(self, root: Path) -> None:
        self.store = LocalStore(root)
        self.claims = Claims(self.store, BlobSettings(url=""))
        self.done: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.seen: list[tuple[bytes, str]] = []
        self.fetching = Fetching(self.claims, lambda *got: self.done.put(got))

    def decode(self, data: bytes, content_type: str) -> Array:
        self.seen.append((data, content_type))
        if data == b"bad":
            raise BadPayload("bad")
        return cast("Array", data.decode())

    def fetch(self, job: Job, claim: str) -> tuple[Any, ...]:
        begun = self.fetching.begin(job, held(("claim-check", claim.encode())), Preparation(self.decode))
        assert begun is None
        assert job.ready is False
        return self.done.get(timeout=20)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.claims.close(20)


def test_fetched_payload_is_decoded_as_its_content_type_says(bench: Bench) -> None:
    """The job is not ready meanwhile, and gets its item."""
    one = job()

    assert bench.fetch(one, bench.store.put(b"payload")) == (one, "payload", None)
    assert bench.seen == [(b"payload", "x/y")]


def test_payload_that_cannot_be_had_or_read_is_an_error(bench: Bench) -> None:
    """The query's own; the item is none."""
    one = job()
    spoiled, absent = bench.fetch(one, bench.store.put(b"bad")), bench.fetch(one, digest_of(b"never"))

    assert [(got[0], got[1], type(got[2])) for got in (spoiled, absent)] == [
        (one, None, BadPayload), (one, None, ClaimNotFound),
    ]  # fmt: skip


def test_query_that_ended_while_it_waited_is_not_fetched(bench: Bench) -> None:
    """Expired, say: with a store that hangs there may be many of them."""
    got = bench.fetch(job(done=True), bench.store.put(b"payload"))

    assert isinstance(got[2], DeadlinePassed)
    assert bench.seen == []


def test_nothing_to_fetch_is_said_at_once(bench: Bench) -> None:
    """No claim check, or no store to look it up in; the job is as it was."""
    one, prepare = job(), Preparation(bench.decode)
    empty = [bench.fetching.begin(one, held(*headers), prepare) for headers in ([], [("task", b"t")])]
    unset = Fetching(None, lambda *_got: None).begin(one, held(("ce_claimcheck", b"x")), prepare)

    assert [type(error) for error in empty] == [EmptyPayload, EmptyPayload]
    assert isinstance(unset, NoStore)
    assert one.ready
