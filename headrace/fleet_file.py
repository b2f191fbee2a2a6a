"""A fleet file: pools of machines that are not here, and models that nobody has, to be rehearsed on this machine.

    fleet = read(Path("fleet.toml"))                        # checked; BadFleet names every violation
    loaded = load(config, flags=fleet.flags(control=True))  # headrace.settings: in which its pools stand
    records = records_of(fleet)                             # headrace.fleet_records: what it registers
    with Stack(loaded, config=config, fleet=fleet, records=records, tell=print) as stack:
        stack.wait_ready()                                  # then stack.kafka, stack.supervisor as with any other

`control=False` starts no planner and no forecaster: each pool has its `first` machines, or as many as an order on
`scaling` says, and executors load all that fits them, or what orders say (`--set executor.variants=` loads nothing
before). `headrace.roles.roles(loaded, config=..., bootstrap=..., fleet=fleet)` are the processes without a Stack.
A variant's name is MODEL/emulated-PRECISION-POOL, with -wWIDTH behind it if that is above 1. More: docs/emulation.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headrace.fleet_checks import Place, repaired, told, violations
from headrace.fleet_parts import Fleet
from headrace.layers import values_of
from streams.errors import ClientFault

__all__ = ["BadFleet", "Fleet", "read"]

REPAIRS_MAX = 5  # rounds: a part may be wrong in a way that hid another


class BadFleet(ClientFault):
    """A fleet file that cannot be used; the message lists every violation, by its place in the file."""

    code = "bad_fleet"


def read(path: Path) -> Fleet:
    """Read and check it in one pass. Raises: BadFleet with every violation."""
    fleet, violated = _checked(values_of(path, BadFleet))
    if fleet is None or violated:
        count = "1 violation" if len(violated) == 1 else f"{len(violated)} violations"
        raise BadFleet("\n".join([f"{path}: {count}", *violated]))
    return fleet


def _checked(values: dict[str, Any]) -> tuple[Fleet | None, list[str]]:
    """The fleet, and what is wrong: in the parts, and between those that are sound."""
    found: list[str] = []
    broken: set[Place] = set()
    for _ in range(REPAIRS_MAX):
        try:
            fleet = Fleet.model_validate(values)
        except ValidationError as invalid:
            errors = invalid.errors()
            found += [line for error in errors if (line := told(error)) not in found]
            if not repaired(values, errors, broken):
                break
        else:
            return fleet, [*found, *violations(fleet, broken)]
    return None, found
