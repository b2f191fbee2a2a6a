"""What this machine is: its kind, the cores that we may use, and the memory that we hold."""

from __future__ import annotations

import math
import os
import platform
import re
import resource
import sys
from pathlib import Path

KIND_CHARACTERS_MAX = 96
HOST_CHARACTERS_MAX = 64
_NOISE = re.compile(r"\((?:R|TM)\)|\b(?:CPU|Processor|\d+-Core)\b|@.*", re.IGNORECASE)


_device = ""


def work_on(device: str) -> None:
    """This process runs its models on `device` and not on the processor; see `probing.claim`."""
    global _device
    _device = device


def machine_kind() -> str:
    """This process's device if it has one, and the host: profiles of one kind are not used for another."""
    kind = host_kind()
    return kind if not _device else f"{_device[: KIND_CHARACTERS_MAX - len(kind) - 3]} + {kind}"


def host_kind() -> str:
    """The processor and the number of usable cores."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        cpuinfo = ""  # not Linux
    return describe(cpuinfo, cores=usable_cores(), architecture=platform.machine())


def describe(cpuinfo: str, *, cores: int, architecture: str) -> str:
    """A short name that stays the same between boots.

    Family and model stand in it because virtual machines call every processor of a maker by one name.
    """
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    words = " ".join(_NOISE.sub(" ", fields.get("model name", "")).split()) or architecture
    family, model = fields.get("cpu family"), fields.get("model")
    if family is not None and model is not None:
        words += f" {family}.{model}"
    elif (part := fields.get("CPU part")) is not None:  # ARM
        words += f" {part}"
    tail = f" x{cores}"
    return words[: HOST_CHARACTERS_MAX - len(tail)] + tail


def usable_cores(*, cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores that this process may keep busy: its affinity, cut by its cgroup's quota (at least 1)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = cpu_max.read_text("ascii").split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return cores  # no cgroup v2, or no limit in it
    return max(1, cores)


def resident_bytes() -> int:
    """The memory that this process holds now; its peak where only that is known."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()
