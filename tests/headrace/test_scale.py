"""`headrace scale` on a real Kafka: orders, their epochs, and nonsense."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from headrace.cli import load
from streams.errors import BadSettings
from streams.settings import KafkaSettings
from streams.topics import create

pytestmark = pytest.mark.kafka

Run = Callable[..., str]


@pytest.fixture
def run(bootstrap: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """`headrace scale ARGS` on topics of its own; returns what it prints."""
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=f"test-scale-{os.getpid()}.")
    create(kafka)
    own = ["--set", f"kafka.bootstrap={kafka.bootstrap}", "--set", f"kafka.prefix={kafka.prefix}"]

    def call(*args: str) -> str:
        load("scale").main([*args, *own], prog_name="scale", standalone_mode=False)
        return capsys.readouterr().out

    return call


def test_scale_orders_stand_until_they_are_released(run: Run) -> None:
    """Epochs rise over all orders; what nobody carries out says so."""
    empty = run("show")
    first = run("executor", "e1", "a/onnxruntime-fp32:2:8", "b/torch")
    second = run("pool", "cpu", "3")
    shown = run("show")
    run("release", "executor:e1")
    left = run("show")

    assert empty == "no orders\n"
    assert first == "executor:e1: epoch 1, 2 variants\n"
    assert second == "pool:cpu: epoch 2, 3 machines\n"
    assert shown.splitlines() == [
        "executor:e1  epoch 1  not heard of",
        "  a/onnxruntime-fp32 x2, batches of at most 8",
        "  b/torch x1",
        "pool:cpu  epoch 2  3 machines wanted, 0 ready",
    ]
    assert left == "pool:cpu  epoch 2  3 machines wanted, 0 ready\n"


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (("executor", "e1", "a:many"), "is not VARIANT"),
        (("executor", "e1", "a:0"), ">= 1"),
        (("executor", "e1", "a:1:99999"), "<= 4096"),
        (("release", "e1"), "neither executor:NAME nor pool:NAME"),
    ],
)
def test_scale_nonsense_is_refused_in_words(run: Run, args: tuple[str, ...], what: str) -> None:
    """Nothing is written."""
    with pytest.raises(BadSettings, match=what):
        run(*args)
