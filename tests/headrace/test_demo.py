"""The demo and `headrace up`, from the command line, on real Kafka with real models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace import state
from headrace.state import start_ticks

TIMEOUT_S = 480.0  # the first run on a machine builds the models, tries them and measures them
ONNX = ("--set", "executor.variants=*/onnxruntime")  # importing torch would take longer than the test

pytestmark = [pytest.mark.kafka, pytest.mark.models]


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "headrace", *args]


def environment() -> dict[str, str]:
    """Without a cluster: the demo shall start its own."""
    return {
        k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "KAFKA_")) or k == "HEADRACE_CACHE_DIR"
    }


def test_demo_executor_killed_answers_everything_once(tmp_path: Path) -> None:
    """With an executor killed in the middle: exit 0, every query answered once, models as good as said."""
    done = subprocess.run(
        command("demo", "--queries", "400", "--seconds", "4", "--chaos", "--json"),
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert (found["kept"], found["lost"], found["unmarked_twice"]) == (True, 0, 0)
    assert found["asked"] > 400
    assert found["restarts"] == {"executor-1": 1}
    assert {row["phase"] for row in found["outcomes"]} == {"warm-up", "steady", "overload"}
    digits = [row for row in found["accuracies"] if row["task"] == "digit-classification"]
    assert sum(row["correct"] for row in digits) >= 0.9 * sum(row["labelled"] for row in digits)
    assert all(row["below"] == 0 for row in digits)
    used = {row["variant"]: row for row in found["variants"]}
    assert {"digits-cnn/onnxruntime", "digits-cnn/onnxruntime-int8-static"} <= set(used)
    assert not state.read(tmp_path / ".headrace")


def test_up_status_send_and_kill_leave_nothing_behind(tmp_path: Path) -> None:
    """`up` serves, `status` and `send` find it from the directory alone, and kill -9 of it leaves no process."""
    log = (tmp_path / "up.log").open("w")
    with subprocess.Popen(
        command("up", "--executors", "1", *ONNX), cwd=tmp_path, env=environment(), stderr=log
    ) as owner:
        wait_for(lambda: owner.poll() is not None or "ready:" in (tmp_path / "up.log").read_text())
        assert owner.poll() is None, (tmp_path / "up.log").read_text()

        shown = run("status", "--json", cwd=tmp_path)
        sent = run("send", "--digits", "3", "--accuracy-min", "0.9", cwd=tmp_path)
        second = run("up", cwd=tmp_path)
        found = json.loads(shown.stdout)
        owner.send_signal(signal.SIGKILL)
        owner.wait()

    assert [process["name"] for process in found["processes"]] == ["headrace", "broker-1", "router-1", "executor-1"]
    assert len(found["executors"]) == 1
    assert "digits-committee/onnxruntime" in found["variants"]
    assert sent.returncode == 0, sent.stderr
    assert [line.split()[:2] for line in sent.stdout.splitlines()] == [["digit", label] for label in sent_labels(sent)]
    assert second.returncode == 2
    assert "headrace: already_up: " in second.stderr
    wait_for(lambda: not any(start_ticks(process["pid"]) for process in found["processes"]))
    log.close()


def sent_labels(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.split()[1] for line in done.stdout.splitlines()]


def run(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
