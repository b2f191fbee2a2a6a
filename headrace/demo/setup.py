"""Settings that the demo wants where nobody said otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace.settings import Loaded, load
from streams.broker.ports import bindable, free

MEASURE_S = 1.0  # a variant: a profile good enough to choose by, and a start that is not mostly measuring
ONNX = ("onnxruntime", "onnxruntime-int8-*")  # importing torch in every executor takes as long as the rest of a start
TORCH = ("torch", "torch-bf16")  # not compiled: that takes minutes a model
TRIES = 50


def with_defaults(config: Path | None, pairs: list[str] | None, given: Loaded, *, torch: bool) -> Loaded:
    """The same settings, with the examples as models, ports to read metrics from, short measurements, and on a
    configured cluster a prefix of its own. Only what the demo generates is loaded (`ways`).

    Raises: BadSettings, PortTaken.
    """
    up = given.settings.up
    wanted: dict[tuple[str, str], Any] = {
        ("up", "observe_port"): _ports(up.routers + up.executors),
        ("executor", "measure_s"): MEASURE_S,
    }
    wanted["executor", "variants"] = tuple(f"*/{way}" for way in ways(torch=torch))
    if given.cluster_given:
        wanted["kafka", "prefix"] = "headrace-demo."
    flags: dict[str, dict[str, Any]] = {"up": {"executors": up.executors}}
    for (section, key), value in wanted.items():
        if (section, key) not in given.origins:
            flags.setdefault(section, {})[key] = value
    return load(config, pairs=pairs or (), flags=flags)


def ways(*, torch: bool) -> tuple[str, ...]:
    """The part of the menu that the demo generates, as globs of what stands behind the `/` of a variant's name."""
    return (*ONNX, *TORCH) if torch else ONNX


def _ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    for first in free(TRIES):
        if all(bindable(first + offset) for offset in range(count)):
            return first
    return 0  # the demo then has no word on why batches closed, and says so
