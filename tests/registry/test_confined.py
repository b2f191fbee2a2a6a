"""A child under limits: whatever a file makes of it, we get an answer or a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry import confined
from registry.archives import BadArtifact
from registry.confined import Limits


def run(said: str, folder: Path, time_s: float = 60.0) -> bytes:
    return confined.run(
        "tests.registry.dying", said.encode(), folder=folder, about="m.onnx", limits=Limits(time_s=time_s)
    )


def test_run_gives_what_the_child_wrote(tmp_path: Path) -> None:
    """And nothing of a run before it."""
    (tmp_path / confined.RESULT).write_bytes(b"old")

    assert run("hello", tmp_path) == b"HELLO"
    with pytest.raises(BadArtifact, match="did not survive"):
        run("silence", tmp_path)


@pytest.mark.parametrize(("said", "told"), [("crash", "ended by signal 6"), ("disk", "File too large|signal 25")])
def test_run_child_that_dies_is_told_with_the_reason(said: str, told: str, tmp_path: Path) -> None:
    """A crash is the file's fault, and its own only."""
    with pytest.raises(BadArtifact, match=rf"(?s)m\.onnx: the process that loaded it did not survive .*({told})"):
        run(said, tmp_path)


def test_run_child_that_hangs_is_ended(tmp_path: Path) -> None:
    """Within its time, with everything that it started."""
    with pytest.raises(BadArtifact, match=r"not loaded, run and checked within 3 s"):
        run("hang", tmp_path, time_s=3.0)


def test_run_memory_beyond_the_limit_is_refused_to_the_child(tmp_path: Path) -> None:
    """On top of what its libraries take, 256 MiB here."""
    assert run("memory", tmp_path) == b"refused"
