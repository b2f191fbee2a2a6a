"""`headrace router` as a process: what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams import topics
from streams.settings import KafkaSettings

PATIENCE_S = 60.0

pytestmark = pytest.mark.kafka


def test_router_stopped_leaves_no_file_and_no_escape_code(bootstrap: str, tmp_path: Path) -> None:
    """After SIGTERM it has ended with 0, its working directory is empty, and its log is text."""
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=f"test-router-{os.getpid()}.")
    topics.create(kafka)
    folder, log = tmp_path / "cwd", tmp_path / "log"
    folder.mkdir()
    with log.open("wb") as sink:
        router = subprocess.Popen(
            [sys.executable, "-m", "headrace", "router", "--set", f"kafka.prefix={kafka.prefix}"],
            cwd=folder, env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": bootstrap}, stdout=sink, stderr=sink,
        )  # fmt: skip
    end = time.monotonic() + PATIENCE_S
    while b"router ready" not in log.read_bytes():
        assert router.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)

    router.terminate()

    assert router.wait(PATIENCE_S) == 0
    assert list(folder.iterdir()) == []
    assert b"\x1b" not in log.read_bytes()
