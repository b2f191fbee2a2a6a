"""What `up` waits for, from what the fleet says of itself. Pure."""

from __future__ import annotations

from typing import NamedTuple

from headrace.listen import Heard


class Awaited(NamedTuple):
    """Who should be heard of. `pools` have a provisioner; `serving`: someone there will hold variants."""

    routers: int
    executors: int
    pools: tuple[str, ...] = ()
    planner: bool = False
    serving: bool = True


def lacking(heard: Heard, awaited: Awaited) -> list[str]:
    """What is not there yet, in words; empty once everything is.

    Machines are counted against what their provisioner wants now, which a planner may have changed meanwhile.
    """
    found = []
    if len(heard.routers) < awaited.routers:
        found.append(f"{len(heard.routers)} of {awaited.routers} routers")
    if len(heard.ready) < awaited.executors:
        found.append(f"{len(heard.ready)} of {awaited.executors} executors")
    for pool in awaited.pools:
        report = heard.pools.get(pool)
        if report is None:
            found.append(f"no provisioner of {pool}")
        elif report.ready < report.wanted:
            found.append(f"{report.ready} of {report.wanted} machines of {pool}")
    if awaited.planner and not any(planner.leads for planner in heard.planners.values()):
        found.append("no planner that leads")
    if awaited.pools and awaited.serving and not heard.ready:
        found.append("no machine with models")
    return found
