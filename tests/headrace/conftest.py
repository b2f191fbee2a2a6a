"""What several tests of the command line and of generation ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.headrace.variants import in_this_process


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for what generation finds."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants are tried in this process."""
    in_this_process(monkeypatch)
