"""One measurement at a time on a machine: whoever measures holds the lock, executors and the profiler alike."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def lock_file() -> Path:
    """Of this user: two users of one machine do not hear of each other."""
    return Path(tempfile.gettempdir()) / f"headrace-measure-{os.getuid()}.lock"


@contextlib.contextmanager
def alone(path: Path | None = None) -> Iterator[bool]:
    """Wait until nobody else measures, then be the one who does; the lock ends with the process at the latest.

    Says whether somebody was waited for: what they measured may then still be on its way.
    """
    with (path or lock_file()).open("w") as file:
        waited = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            fcntl.flock(file, fcntl.LOCK_EX)
        yield waited
