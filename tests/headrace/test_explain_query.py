"""`headrace explain query`: from the header on a query to what its router weighed, and the words for it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
from rich.console import Console

from benchmarks.stubs import ITEM, stub_task
from benchmarks.system import System
from headrace import Client
from headrace.explaining.query import explained
from headrace.explaining.show_query import rendered
from streams.clock import NEVER
from streams.contract import Outcome
from streams.decisions import Candidate, Decision
from streams.payloads import encode_npy
from streams.records import Answer
from streams.settings import KafkaSettings

ARRIVED_US = 1_700_000_000_000_000
ITEM_OF_ONES = np.ones(ITEM, np.float32)
ANSWER_S = 30.0


def candidate(variant: str, accuracy: float, finish_us: int | None, no: str = "") -> Candidate:
    return Candidate(
        variant=variant, pool="cpu", accuracy=accuracy, finish_us=finish_us, executor="e1" if finish_us else "", no=no
    )


def decision(outcome: str = "chosen", why: str = "joined", *, variant: str = "good/v", attempt: int = 1) -> Decision:
    return Decision(
        query_id="q", klass="task=t slo=100 acc=0 cost=any prio=5", router="r1", at_us=ARRIVED_US + 2_000,
        arrived_us=ARRIVED_US, deadline_us=ARRIVED_US + 100_000, outcome=outcome, why=why, attempt=attempt, epoch=7,
        variant=variant if outcome == "chosen" else "", pool="cpu" if outcome == "chosen" else "",
        executor="e1" if outcome == "chosen" else "",
        candidates=(
            candidate("good/v", 0.9, 20_000, "" if variant == "good/v" else "would be late by 5.0 ms"),
            candidate("fast/v", 0.7, 5_000, "less accurate than the choice (0.9)" if variant == "good/v" else ""),
        ),
    )  # fmt: skip


def answer(*, latency_us: int = 17_000, attempt: int = 1) -> Answer:
    return Answer(
        query_id="q", outcome=Outcome.OK, value=b"", reply_topic="results", variant="good/v", accuracy=0.9,
        latency_us=latency_us, queue_us=4_000, batch=8, attempt=attempt,
    )  # fmt: skip


def text(decisions: list[Decision], answers: list[Answer]) -> str:
    sink = io.StringIO()
    Console(file=sink, width=200).print(rendered(explained("q", decisions, answers), results="results"))
    return sink.getvalue()


def test_query_explained_says_choice_candidates_and_what_came_of_it() -> None:
    """The prediction stands beside what happened."""
    said = text([decision()], [answer()])

    assert "chosen: good/v on cpu, executor e1: it joined the block that was open there" in said
    assert "less accurate than the choice (0.9)" in said
    assert "ok after 17.0 ms (predicted 20.0 ms, so 3.0 ms earlier); 4.0 ms of it waiting" in said
    assert "following plan 7" in said


def test_query_explained_takes_the_look_that_led_to_the_answer() -> None:
    """A parked look, the first attempt, and a second one of which the answer is."""
    decisions = [decision("parked", "waits"), decision(variant="fast/v"), decision(attempt=2)]
    found = explained("q", decisions, [answer(attempt=2)])

    assert found.decision is decisions[2]
    assert "2 other looks at it" in text(decisions, [answer(attempt=2)])


def test_query_explained_without_a_decision_says_how_to_get_one() -> None:
    """It was not in the sample; its answer is there all the same."""
    said = text([], [answer()])

    assert "how it was routed was not kept: ask for it with the header `explain: true`" in said
    assert "ok after 17.0 ms" in said


def test_query_explained_without_deadline_or_answer() -> None:
    """It has none yet."""
    patient = Decision(
        query_id="q", klass="c", router="r1", at_us=ARRIVED_US, arrived_us=ARRIVED_US, deadline_us=int(NEVER),
        outcome="unknown_target", why="task 'c' is not registered",
    )  # fmt: skip
    said = text([patient], [])

    assert "no deadline" in said
    assert "unknown_target: task 'c' is not registered" in said
    assert "no answer on results yet" in said


@pytest.fixture(scope="module")
def system(bootstrap: str) -> Iterator[System]:
    """A router that samples nothing by itself, and an executor."""
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=f"test-explain-{time.time_ns():x}.")
    with System(kafka, stub_task("echo", fixed_ms=2.0, per_item_ms=0.5, batch_max=8)) as made:
        made.start("router-0", decisions=0.0)
        made.start("executor-0", cores=1)
        made.wait_ready(1, lambda _: (encode_npy(ITEM_OF_ONES), [("task", "echo"), ("content-type", NPY)]))
        yield made


NPY = "application/x-npy"


def explain(kafka: KafkaSettings, *args: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "explain", "query", *args, "--set", f"kafka.prefix={kafka.prefix}"],
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.kafka
def test_explain_query_end_to_end(system: System) -> None:
    """Who asks is told, of a choice and of a refusal; who does not is told how to ask; a stranger's id is an error."""
    with Client(system.kafka) as client:
        told = client.submit(ITEM_OF_ONES, task="echo", slo_ms=5_000, explain=True)
        refused = client.submit(ITEM_OF_ONES, task="echo", accuracy_min=0.99, explain=True)
        silent = client.submit(ITEM_OF_ONES, task="echo", slo_ms=5_000)
        for each in (told, refused, silent):
            each.result(ANSWER_S)

    status, said = explain(system.kafka, told.query_id, "--json")
    found = json.loads(said)
    assert status == 0
    assert [each["outcome"] for each in found["decisions"]] == ["chosen"]
    assert found["predicted_us"] > 0
    assert [each["outcome"] for each in found["answers"]] == ["ok"]

    status, said = explain(system.kafka, refused.query_id)
    assert (status, "accuracy_unreachable: accuracy-min 0.99 > best variant" in said) == (0, True), said
    status, said = explain(system.kafka, silent.query_id)
    assert (status, "was not kept" in said) == (0, True), said
    status, said = explain(system.kafka, "nobody")
    assert (status, "nothing is known of query 'nobody'" in said) == (2, True), said
