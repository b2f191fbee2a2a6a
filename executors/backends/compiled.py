"""What a device's compiler made of a model, kept on disk: by everything that it depends on, and bounded.

Engines of TensorRT and of Neuron take minutes and are valid for one version of the compiler, and one kind of device.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from streams.folders import cache_folder

ABOUT = "about.json"
BYTES_MAX = 20 << 30


def key(parts: dict[str, str]) -> str:
    """Of all that the result depends on: one part differs, and it is another."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def default_folder() -> Path:
    """Beside the models."""
    return cache_folder() / "compiled"


class Compiled:
    """A folder of folders. The least recently used go when they exceed `bytes_max` together."""

    def __init__(self, folder: Path | None = None, *, bytes_max: int = BYTES_MAX) -> None:
        self._folder = folder or default_folder()
        self._bytes_max = bytes_max

    @contextlib.contextmanager
    def place(self, parts: dict[str, str]) -> Iterator[Path]:
        """The folder of what depends on `parts`, held against other processes and threads until the block ends.

        It may hold what was made before, or nothing; `about.json` in it says what it is of. Whoever fills it writes to
        another name and renames, since a kill may come at any time. Blocks are not nested.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        place = self._folder / key(parts)
        with self._lock_of(place).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            place.mkdir(exist_ok=True)
            (place / ABOUT).write_text(json.dumps(parts, indent=1, sort_keys=True), "utf-8")
            os.utime(place)
            yield place
        self._prune(keep=place)

    def _lock_of(self, place: Path) -> Path:
        """One of 256 files: one each would stay behind for every key there ever was."""
        return self._folder / f"{place.name[:2]}.lock"

    def _prune(self, *, keep: Path) -> None:
        places = sorted((_used_at(p), p) for p in self._folder.iterdir() if p.is_dir())
        sizes = {place: _bytes(place) for _, place in places}
        excess = sum(sizes.values()) - self._bytes_max
        for _, place in places:
            if excess <= 0:
                return
            if place != keep and self._free(place):
                excess -= sizes[place]

    def _free(self, place: Path) -> bool:
        """Remove a place unless somebody is in it, or in one that shares its lock."""
        with self._lock_of(place).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            shutil.rmtree(place, ignore_errors=True)
        return True


def _used_at(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except FileNotFoundError:  # another process removed it just now
        return 0.0


def _bytes(place: Path) -> int:
    total = 0
    for file in place.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # as above
            total += file.stat().st_size if file.is_file() else 0
    return total
