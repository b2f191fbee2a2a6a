"""This machine as the menu wants to know it."""

from __future__ import annotations

import importlib.util
import platform
from pathlib import Path

from executors.hardware import machine_kind, usable_cores
from registry.generate import Machine
from registry.records import Framework

MODULES: dict[Framework, str] = {"onnxruntime": "onnxruntime", "torch": "torch"}


def this_machine(*, cores: int | None = None) -> Machine:
    """What this process may use; `cores` widens or narrows it. Only what has been seen to run here is offered: CPUs."""
    return Machine(
        kind=machine_kind(),
        cores=cores or usable_cores(),
        hardware=("cpu",),
        flags=flags(_cpuinfo()),
        frameworks=tuple(name for name, module in MODULES.items() if importlib.util.find_spec(module) is not None),
        architecture=platform.machine(),
    )


def flags(cpuinfo: str) -> frozenset[str]:
    """Of the first processor: `flags` on x86, `Features` on ARM."""
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return ""  # not Linux: nothing is known of it, so nothing reduced is tried
