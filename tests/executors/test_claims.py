"""Large values the whole way: client, router, executor and back, over a folder and over S3, and every way to fail."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from confluent_kafka import Producer

from benchmarks.load import Answers
from benchmarks.stubs import stub_task
from benchmarks.system import System
from headrace import Client, KafkaSettings, Outcome
from registry.records import Model, Record, Step
from streams.answers import read_error
from streams.blobs import BlobSettings, Store, digest_of, name_of, open_store
from streams.contract import OnMiss
from streams.errors import NoStore
from streams.payloads import encode_npy
from streams.records import Answer
from tests.streams.faulty import BUCKET, s3

pytestmark = pytest.mark.kafka

UP_S = 60.0
END_S = 20.0
VALUE_MAX = 20_000
STORE_MAX = 200_000
WIDE = 2_000  # classes, whose names together are larger than VALUE_MAX
ABSENT = "sha256:" + "0" * 64


class Running(NamedTuple):
    system: System
    kafka: KafkaSettings
    blobs: BlobSettings

    @property
    def store(self) -> Store:
        made = open_store(self.blobs)
        assert made is not None
        return made

    def asked(self, headers: dict[str, str], value: bytes | None = b"") -> Answer:
        """The one answer to a query of a plain Kafka client."""
        query_id = f"q{time.monotonic_ns()}"
        answers = Answers(self.kafka)
        producer = Producer(self.kafka.producer())
        named = {"query-id": query_id, "task": "echo", "content-type": "application/x-npy", **headers}
        producer.produce(self.kafka.topic("queries"), value, headers=list(named.items()))
        producer.flush(END_S)
        missing = answers.wait_for([query_id], END_S)
        answers.stop()
        assert missing == [], self.system.tails()
        [got] = answers.by_id[query_id]
        return got.answer


def records() -> list[Record]:
    """`echo` answers small, `wide` with more than fits a record."""
    wide = [
        msgspec.structs.replace(
            r, labels=tuple(f"label-{i:06}" for i in range(WIDE)), postprocess=Step(name="top-k", params={"k": WIDE})
        )
        if isinstance(r, Model)
        else r
        for r in stub_task("wide", batch_max=4)
    ]
    return [*stub_task("echo", batch_max=8), *wide]


def padded(first: float) -> bytes:
    """A v2 request of one item that no record takes, for the words beside it."""
    tensor = {"name": "x", "shape": [4], "datatype": "FP32", "data": [first, 0, 0, 0]}
    return msgspec.json.encode({"inputs": [tensor], "parameters": {"note": "n" * 2 * VALUE_MAX}})


def item(first: float) -> bytes:
    return encode_npy(np.array([first, 0, 0, 0], dtype=np.float32))


def started(bootstrap: str, blobs: dict[str, str], name: str, stack: ExitStack) -> Running:
    """A router and an executor of their own, whose store is that of the environment, as an operator may set it."""
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    for key in ("url", "endpoint", "region", "size_max_bytes"):
        patch.delenv(f"HEADRACE_BLOBS__{key.upper()}", raising=False)
    for key, value in blobs.items():
        patch.setenv(f"HEADRACE_BLOBS__{key.upper()}", value)
    kafka = KafkaSettings(
        bootstrap=bootstrap, prefix=f"test-claims-{name}-{os.getpid()}.", slots=1, query_partitions=1,
        result_partitions=1, value_max_bytes=VALUE_MAX,
    )  # fmt: skip
    system = stack.enter_context(System(kafka, records()))
    system.start("executor-0", cores=1)
    system.start("router-0")
    system.wait_ready(1, lambda _n: (item(0.0), [("task", "echo")]), timeout_s=UP_S)
    return Running(system, kafka, BlobSettings(size_max_bytes=STORE_MAX))


@pytest.fixture(scope="module")
def folder(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with ExitStack() as stack:
        yield started(bootstrap, {"url": str(tmp_path_factory.mktemp("store"))}, "folder", stack)


@pytest.fixture(scope="module")
def bucket(bootstrap: str) -> Iterator[Running]:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("AWS_ACCESS_KEY_ID", "any")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        served = stack.enter_context(s3())
        where = {"url": f"s3://{BUCKET}/claims", "endpoint": served.endpoint, "region": "us-east-1"}
        yield started(bootstrap, where, "bucket", stack)


@pytest.fixture(scope="module")
def without(bootstrap: str) -> Iterator[Running]:
    with ExitStack() as stack:
        yield started(bootstrap, {}, "without", stack)


@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_large_query_and_large_result_pass_as_if_there_were_no_limit(
    where: str, request: pytest.FixtureRequest
) -> None:
    """The payload is more than a record takes, and so is the answer; each reply is that of its own query."""
    running: Running = request.getfixturevalue(where)
    with Client(running.kafka, blobs=running.blobs) as client:
        large = [client.submit(padded(n), task="wide", content_type="application/json") for n in range(8)]
        small = client.submit(item(1.0), task="echo", slo_ms=10_000)
        replies = client.results([*large, small], END_S)

    assert [reply.outcome for reply in replies] == [Outcome.OK] * 9
    assert [reply.labels[0] for reply in replies[:8]] == [f"label-{n:06}" for n in range(8)]
    assert {len(reply.labels) for reply in replies[:8]} == {WIDE}
    assert (replies[8].labels, replies[8].answer.claim) == (["b"], None)
    assert all(reply.answer.claim == digest_of(reply.value) for reply in replies[:8])


def test_claim_of_a_plain_client_is_fetched(folder: Running) -> None:
    """In CloudEvents' words too: put a value there, name it, and leave the record's value empty."""
    claim = folder.store.put(item(1.0))
    plain = folder.asked({"claim-check": claim})
    event = folder.asked({"ce_claimcheck": claim, "ce_specversion": "1.0", "ce_type": "t"})

    assert (plain.outcome, event.outcome) == (Outcome.OK, Outcome.OK)
    assert [msgspec.json.decode(answer.value)["outputs"][0]["data"] for answer in (plain, event)] == [["b"], ["b"]]


def test_claim_beside_a_value_does_not_count(folder: Running) -> None:
    """The record is its own payload."""
    answer = folder.asked({"claim-check": ABSENT}, item(1.0))

    assert answer.outcome is Outcome.OK


@pytest.mark.parametrize(
    "claim", ["../../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "s3://values/x", "http://127.0.0.1:1/",
              "", ABSENT[:-1], ABSENT + "0", ABSENT.upper(), "md5:" + "0" * 32, "sha256:" + "../" * 21 + "x"],
)  # fmt: skip
def test_claim_that_is_no_digest_is_rejected(folder: Running, claim: str) -> None:
    """Whatever it names, nothing is looked for."""
    answer = folder.asked({"claim-check": claim})

    assert (answer.outcome, answer.code) == (Outcome.REJECTED, "bad_claim")
    assert "64 hex digits" in read_error(answer.value).message


def test_claim_that_cannot_be_had_is_answered_in_words(folder: Running) -> None:
    """Absent, too large, something else, no payload for this task, and none at all."""
    spoiled = folder.store.put(b"spoiled")
    (folder.blobs.folder / name_of(spoiled)).write_bytes(b"spoilt!")
    large = folder.store.put(bytes(64_000_001))
    picture = folder.store.put(b"GIF89a")
    cases: list[dict[str, Any]] = [
        *({"claim-check": claim} for claim in (ABSENT, large, spoiled, picture)),
        {"content-type": "application/x-npy"},
    ]
    answers = [folder.asked(headers) for headers in cases]

    assert [(answer.outcome, answer.code, read_error(answer.value).retriable) for answer in answers] == [
        (Outcome.REJECTED, "claim_not_found", False),
        (Outcome.REJECTED, "claim_too_large", False),
        (Outcome.FAILED, "value_corrupt", False),
        (Outcome.REJECTED, "bad_payload", False),
        (Outcome.REJECTED, "empty_payload", False),
    ]
    assert "at most 64000000" in read_error(answers[1].value).message


def test_null_beside_a_claim_is_a_tombstone(folder: Running) -> None:
    """The router answers it, before anybody looks for a claim."""
    answer = folder.asked({"claim-check": ABSENT}, None)

    assert (answer.outcome, answer.code) == (Outcome.REJECTED, "empty_payload")


def test_store_that_is_away_fails_both_ways_and_comes_back(folder: Running) -> None:
    """The folder is not there for a while: retriable, and queries that need no store go on."""
    claim = folder.store.put(item(1.0))
    home = folder.blobs.folder
    aside = home.with_name("aside")
    home.rename(aside)
    home.write_text("not a folder")
    try:
        fetched, stored = folder.asked({"claim-check": claim}), folder.asked({"task": "wide"}, item(1.0))
        beside = folder.asked({}, item(1.0))
    finally:
        home.unlink()
        aside.rename(home)
    again = folder.asked({"claim-check": claim})

    assert [(answer.outcome, answer.code) for answer in (fetched, stored)] == [
        (Outcome.FAILED, "store_unreachable")
    ] * 2
    assert read_error(stored.value).retriable
    assert (beside.outcome, again.outcome) == (Outcome.OK, Outcome.OK)


def test_executor_without_a_store_says_so(without: Running, tmp_path: Path) -> None:
    """A claim is rejected with its own code, a large result fails as ever, and a client's words name the setting."""
    claimed, large = without.asked({"claim-check": ABSENT}), without.asked({"task": "wide"}, item(1.0))
    with Client(without.kafka, blobs=str(tmp_path)) as client:
        reply = client.ask(
            padded(1.0), task="echo", on_miss=OnMiss.REJECT, content_type="application/json", timeout=END_S
        )

    assert [(answer.outcome, answer.code) for answer in (claimed, large)] == [
        (Outcome.REJECTED, "no_store"), (Outcome.FAILED, "result_too_large"),
    ]  # fmt: skip
    with pytest.raises(NoStore, match="HEADRACE_BLOBS__URL"):
        reply.raise_for_outcome()
