"""The examples for applications do what they say, against the smallest system that answers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from examples import claim_check, client, plain_python
from headrace import KafkaSettings
from streams.blobs import LocalStore, digest_of
from tests.streams.echo import Echo, fresh_kafka


@pytest.mark.kafka
def test_plain_python_gets_its_answer(bootstrap: str) -> None:
    """Produce and read with confluent-kafka alone."""
    kafka = fresh_kafka(bootstrap)
    with Echo(kafka):
        outcome, answer = plain_python.ask(bootstrap, b"{}", {"task": "t"}, kafka.prefix)

    assert outcome == "ok"
    assert answer["outputs"][0]["data"] == ["t"]


def test_plain_python_needs_nothing_of_ours() -> None:
    """It shows what any application can do; an import of headrace would hide how."""
    tree = ast.parse(Path(plain_python.__file__).read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert modules == {"__future__", "typing", "confluent_kafka"}


def test_claim_check_by_hand_is_that_of_the_store(tmp_path: Path) -> None:
    """What it puts there is found by an executor, and what an executor puts there is found by it."""
    claim = claim_check.put(tmp_path, b"photo")
    store = LocalStore(tmp_path)

    assert claim == digest_of(b"photo")
    assert store.get(claim, size_max_bytes=10) == b"photo"
    assert claim_check.get(tmp_path, store.put(b"result")) == b"result"


@pytest.mark.kafka
def test_client_example_runs(bootstrap: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One, many, and awaited queries, all answered."""
    kafka: KafkaSettings = fresh_kafka(bootstrap)
    with Echo(kafka):
        client.main(kafka)

    printed = capsys.readouterr().out
    assert "[('digit-classification', 0.5)] by echo@cpu" in printed
    assert "200 at once: {'ok': 200}" in printed
    assert "200 awaited: 200 ok" in printed
