"""Which processes a configuration asks for on this machine, as command lines and environments."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.fleet_parts import Fleet, PoolPart
from headrace.layers import DELIMITER, PREFIX
from headrace.settings import Loaded
from headrace.show import toml
from headrace.supervise import Role

# The order of stopping: nothing new comes in, nobody orders any more, and executors finish what they have.
ROUTERS, CONTROL, EXECUTORS = 0, 1, 2
FORECASTS = "forecaster"  # folder of the forecaster, in that of [up] state

BOOT_SPARE_S = 60.0  # for the start of an emulated machine's process, beside what it sleeps
BOOT_MAX_S = 3_600.0  # what a provisioner takes
STOP_SPARE_S = 3.0  # for a provisioner to end after its machines
NO_BOUND_MB = 1_000_000_000  # of an emulated machine whose memory the file does not say

# One process per core: what a library would start beside it takes the core from its neighbour.
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Own = Mapping[tuple[str, str], Any]


def roles(loaded: Loaded, *, config: Path | None, bootstrap: str, fleet: Fleet | None = None) -> list[Role]:
    """The processes of section `[up]`, each named on this machine by its kind and number, or its pool.

    Routers, then executors; with control, forecaster and planner, and a provisioner in the place of executors; with
    a fleet, a provisioner for each of its pools. `loaded` then is with the fleet's flags.
    Children read the same file and environment as we did; what came from our flags is added to their environment.
    """
    up = loaded.settings.up
    shared = environment(loaded, config=config, bootstrap=bootstrap)
    executors = 0 if up.control or fleet is not None else up.executors
    ports = iter(range(up.observe_port, up.observe_port + up.routers + executors) if up.observe_port else ())
    made = [_role("router", number, ROUTERS, shared, next(ports, 0), {}) for number in range(1, up.routers + 1)]
    made += [
        _role("executor", number, EXECUTORS, shared, next(ports, 0), {("executor", "pool"): up.pool})
        for number in range(1, executors + 1)
    ]
    if up.control:
        folder: Own = {("forecaster", "folder"): up.state / FORECASTS}
        made.append(_role("forecaster", 1, CONTROL, shared, 0, _unless_said(loaded, folder)))
        far: Own = {} if fleet is None else {("planner", "far_s"): fleet.far_s}
        made.append(_role("planner", 1, CONTROL, shared, 0, _unless_said(loaded, far)))
    for pool, own in _provisioners(loaded, fleet):
        made.append(_role("provisioner", pool, EXECUTORS, shared, 0, {("provisioner", "pool"): pool, **own}))
    return made


def provisioned(loaded: Loaded, fleet: Fleet | None) -> tuple[str, ...]:
    """The pools that have a provisioner here."""
    return tuple(pool for pool, _ in _provisioners(loaded, fleet))


def environment(loaded: Loaded, *, config: Path | None, bootstrap: str) -> dict[str, str]:
    """What a child of ours needs to read the settings that are in force here."""
    shared = {**os.environ, **_THREADS, **_flags(loaded), _variable("kafka", "bootstrap"): bootstrap}
    if config is not None:
        shared["HEADRACE_CONFIG"] = str(config.resolve())
    return shared


def _provisioners(loaded: Loaded, fleet: Fleet | None) -> Iterator[tuple[str, dict[tuple[str, str], Any]]]:
    """Pools, and what the provisioner of each, and so its executors, is told beside the settings of all."""
    up, mine = loaded.settings.up, loaded.settings.provisioner
    told: Own = {
        ("provisioner", "drain_s"): max(1.0, min(mine.drain_s, up.stop_s - STOP_SPARE_S)),
        ("provisioner", "logs"): up.state / "machines",
    }
    if up.control:
        told = {**told, ("executor", "variants"): []}  # what an executor holds is the planner's to say
    own = dict(_unless_said(loaded, told))
    if fleet is not None:
        for pool, part in fleet.pools.items():
            yield pool, {**own, **_emulated(part, loads_s=fleet.loads_s(pool))}
    elif up.control:
        most = mine.most if ("provisioner", "most") in loaded.origins else max(1, up.executors)
        bounds = {("provisioner", "most"): most, ("provisioner", "least"): min(mine.least, most)}
        yield up.pool, {**own, **bounds}


def _emulated(pool: PoolPart, *, loads_s: float) -> dict[tuple[str, str], Any]:
    return {
        ("provisioner", "least"): pool.least,
        ("provisioner", "most"): pool.most,
        ("provisioner", "first"): pool.first,
        ("provisioner", "cores"): pool.cores,
        ("provisioner", "boot_s"): min(BOOT_MAX_S, pool.boot_s + loads_s + BOOT_SPARE_S),
        ("executor", "emulated"): True,
        ("executor", "hardware"): pool.hardware,
        ("executor", "memory_mb"): pool.memory_mb or NO_BOUND_MB,
        ("executor", "boot_s"): pool.boot_s,
    }


def _unless_said(loaded: Loaded, own: Own) -> Own:
    """What the user set is left as it is."""
    return {path: value for path, value in own.items() if path not in loaded.origins}


def _role(kind: str, which: int | str, stage: int, shared: Mapping[str, str], port: int, own: Own) -> Role:
    env = {**shared, **{_variable(*path): _text(value) for path, value in own.items()}}
    env[_variable("observe", "port")] = str(port)
    command = (sys.executable, "-P", "-m", "headrace", kind)
    return Role(f"{kind}-{which}", command, env, stage=stage, port=port)


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
