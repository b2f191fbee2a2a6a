"""How much memory loaded variants may take where nobody said."""

from __future__ import annotations

import os
from pathlib import Path

from executors.settings import ExecutorSettings

SHARE = 0.8
CGROUP = Path("/sys/fs/cgroup/memory.max")  # of a container; `max` where it has no bound of its own


def loadable_bytes(settings: ExecutorSettings) -> int:
    """What all instances of one executor may take together."""
    return settings.memory_mb * 1_000_000 or memory_bound()


def memory_bound(cgroup: Path = CGROUP) -> int:
    """Bytes: four fifths of the machine's memory, or of the container's, if that is less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        container = int(cgroup.read_text(encoding="ascii"))
    except (OSError, ValueError):
        container = machine
    return round(SHARE * min(machine, container))
