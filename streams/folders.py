"""Where this user's files are kept: what can be had again in a cache, what cannot in a data folder."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_ENV, DATA_ENV = "HEADRACE_CACHE_DIR", "HEADRACE_DATA_DIR"


def cache_folder() -> Path:
    """`HEADRACE_CACHE_DIR`, else `headrace` in the XDG cache, else in `~/.cache`."""
    return _folder(CACHE_ENV, "XDG_CACHE_HOME", Path(".cache"))


def data_folder() -> Path:
    """`HEADRACE_DATA_DIR`, else `headrace` in the XDG data folder, else in `~/.local/share`."""
    return _folder(DATA_ENV, "XDG_DATA_HOME", Path(".local", "share"))


def _folder(own: str, xdg: str, usual: Path) -> Path:
    if named := os.environ.get(own):
        return Path(named).expanduser().resolve()
    return Path(os.environ.get(xdg) or Path.home() / usual) / "headrace"
