"""Which processes a configuration asks for on this machine, as command lines and environments."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.layers import DELIMITER, PREFIX
from headrace.settings import Loaded
from headrace.show import toml
from headrace.supervise import Role

ROUTERS, EXECUTORS = 0, 1  # the order of stopping: nothing new comes in while executors finish what they have

# One process per core: what a library would start beside it takes the core from its neighbour.
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def roles(loaded: Loaded, *, config: Path | None, bootstrap: str) -> list[Role]:
    """The routers and executors of section `[up]`, each named on this machine by its kind and number.

    Children read the same file and environment as we did; what came from our flags is added to their environment.
    """
    up = loaded.settings.up
    shared = environment(loaded, config=config, bootstrap=bootstrap)
    ports = iter(range(up.observe_port, up.observe_port + up.routers + up.executors) if up.observe_port else ())
    made = [_role("router", number, ROUTERS, shared, next(ports, 0), {}) for number in range(1, up.routers + 1)]
    made += [
        _role("executor", number, EXECUTORS, shared, next(ports, 0), {("executor", "pool"): up.pool})
        for number in range(1, up.executors + 1)
    ]
    return made


def environment(loaded: Loaded, *, config: Path | None, bootstrap: str) -> dict[str, str]:
    """What a child of ours needs to read the settings that are in force here."""
    shared = {**os.environ, **_THREADS, **_flags(loaded), _variable("kafka", "bootstrap"): bootstrap}
    if config is not None:
        shared["HEADRACE_CONFIG"] = str(config.resolve())
    return shared


def _role(
    kind: str, number: int, stage: int, shared: Mapping[str, str], port: int, own: Mapping[tuple[str, str], str]
) -> Role:
    env = {**shared, **{_variable(*path): value for path, value in own.items()}}
    env[_variable("observe", "port")] = str(port)
    command = (sys.executable, "-P", "-m", "headrace", kind)
    return Role(f"{kind}-{number}", command, env, stage=stage, port=port)


def _flags(loaded: Loaded) -> dict[str, str]:
    settings = loaded.settings.model_dump()
    return {_variable(*path): _text(_at(settings, path)) for path, origin in loaded.origins.items() if origin == "flag"}


def _at(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    section, key, *rest = path
    value = values[section][key]
    return value[".".join(rest)] if rest else value


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | Path) else toml(value)


def _variable(*path: str) -> str:
    return PREFIX + DELIMITER.join(path).upper()
