"""Transfers: what is asked of the store ends once, with a value or a reason, and never holds up who asked."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streams.blobs import BlobSettings, LocalStore, digest_of
from streams.claims import CLAIM_NAMES, Claims, claim_of
from streams.errors import BadClaim, ClaimNotFound, ClaimTooLarge, HeadraceError, StoreUnreachable

SETTINGS = BlobSettings(url="", size_max_bytes=1_000, waiting_max_bytes=100, threads=2)
WAIT_S = 20.0


class Gated(LocalStore):
    """Lets nothing in before `gate` is set."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate = threading.Event()

    def put(self, data: bytes) -> str:
        assert self.gate.wait(WAIT_S)
        return super().put(data)


@pytest.fixture
def store(tmp_path: Path) -> Gated:
    return Gated(tmp_path)


@pytest.fixture
def claims(store: Gated) -> Iterator[Claims]:
    made = Claims(store, SETTINGS)
    yield made
    store.gate.set()
    made.close(WAIT_S)


def waited(ask: Callable[[Callable[[Any], None]], None]) -> Any:
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()
    ask(results.put)
    return results.get(timeout=WAIT_S)


def test_claim_of_is_the_last_of_either_name() -> None:
    """Like every header of the contract; null is empty, and none is none."""
    assert {"claim-check", "ce_claimcheck"} == CLAIM_NAMES
    assert claim_of([("task", b"t")]) is None
    assert claim_of([("claim-check", b"a"), ("ce_claimcheck", b"b"), ("x", b"c")]) == b"b"
    assert claim_of([("claim-check", None)]) == b""


def test_upload_then_download_gives_the_value(store: Gated, claims: Claims) -> None:
    """Through threads, and by what the upload said."""
    store.gate.set()
    claim = waited(lambda done: claims.upload(b"value", done))
    value = waited(lambda done: claims.download(claim, done))

    assert (claim, value) == (digest_of(b"value"), b"value")
    assert claims.fetch(claim.encode()) == b"value"
    assert claims.waiting == 0


@pytest.mark.parametrize("claim", [b"", b"\xff\xfe", b"../x", b"s3://bucket/key", "sha256:ü".encode()])
def test_fetch_what_is_no_digest_is_refused(claims: Claims, claim: bytes) -> None:
    """Bytes that are no text included."""
    with pytest.raises(BadClaim, match="64 hex digits"):
        claims.fetch(claim)


def test_download_failures_are_handed_over_as_results(store: Gated, claims: Claims) -> None:
    """Missing, and larger than this process fetches."""
    store.gate.set()
    large = store.put(bytes(1_001))
    asked = (large, "sha256:" + "0" * 64, "nothing")
    results = [waited(partial(claims.download, claim)) for claim in asked]

    assert [type(result) for result in results] == [ClaimTooLarge, ClaimNotFound, BadClaim]


def test_upload_beyond_the_bound_fails_at_once(store: Gated, claims: Claims) -> None:
    """A store that hangs cannot fill the memory; one large value may always wait alone."""
    results: list[str | HeadraceError] = []
    claims.upload(bytes(150), results.append)
    waiting = claims.waiting
    claims.upload(bytes(1), results.append)
    refused = list(results)
    store.gate.set()
    claims.close(WAIT_S)

    assert waiting == 1
    assert [type(result) for result in refused] == [StoreUnreachable]
    assert "150 bytes wait for it" in str(refused[0])
    assert results[1:] == [digest_of(bytes(150))]


def test_work_that_raises_a_bug_is_a_result_and_the_thread_lives(claims: Claims) -> None:
    """As often as there are threads, and then once more."""

    def bug() -> bytes:
        raise ZeroDivisionError("by nought")

    results = [waited(lambda done: claims.run(bug, done)) for _ in range(3)]

    assert {str(result) for result in results} == {"ZeroDivisionError: by nought"}
    assert waited(lambda done: claims.run(lambda: 7, done)) == 7


def test_later_decides_where_done_runs(store: Gated) -> None:
    """An executor's loop takes it from its inbox: nothing runs in a thread of the store."""
    inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    claims = Claims(store, SETTINGS, later=inbox.put)
    store.gate.set()
    ran: list[threading.Thread] = []
    claims.upload(b"value", lambda _claim: ran.append(threading.current_thread()))
    call = inbox.get(timeout=WAIT_S)
    before = list(ran)
    call()
    claims.close(WAIT_S)

    assert before == []
    assert ran == [threading.current_thread()]


def test_close_gives_up_what_has_not_begun_and_takes_no_more(store: Gated) -> None:
    """Two hang, two wait: those are told; the others end when the store lets them. Nothing is asked after that."""
    claims = Claims(store, SETTINGS)
    results: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    for number in range(4):
        claims.upload(bytes([number]), partial(lambda number, result: results.put((number, result)), number))
    claims.close(0.2)
    told = {number: type(result) for number, result in (results.get(timeout=WAIT_S) for _ in range(2))}
    after = waited(lambda done: claims.upload(b"after", done))
    store.gate.set()
    ended = dict(results.get(timeout=WAIT_S) for _ in range(2))

    assert told == {2: StoreUnreachable, 3: StoreUnreachable}
    assert isinstance(after, StoreUnreachable)
    assert ended == {0: digest_of(b"\x00"), 1: digest_of(b"\x01")}
    assert claims.waiting == 0


def test_unused_claims_have_no_threads(store: Gated) -> None:
    """Most processes with a store never meet a large value."""
    before = threading.active_count()
    Claims(store, SETTINGS).close(WAIT_S)

    assert threading.active_count() == before
