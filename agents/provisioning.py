"""From how many machines a pool should have to the next orders: start, drain, kill. Pure.

A machine boots until it is heard of, serves, drains when it is too many, and is lost when it boots for too long or
falls silent; what is lost is killed and, if it is still needed, replaced. Asked again with what came of it, `decide`
converges; asked twice with the same, it says the same, so that a repeated command does nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from streams.clock import Micros

Phase = Literal["booting", "ready", "draining", "lost"]


class Bounds(NamedTuple):
    """What a pool may be. Units: how long a machine may boot, be silent, and drain."""

    least: int
    most: int
    boot_us: int
    silence_us: int
    drain_us: int
    starts_max: int = 4  # that boot at once


class Machine(NamedTuple):
    """One machine, as it is known. `heard_us` is None until its executor was heard of; `drain_us` until it was told."""

    name: str
    started_us: Micros
    heard_us: Micros | None = None
    drain_us: Micros | None = None


class Start(NamedTuple):
    """Start so many more."""

    machines: int


class Drain(NamedTuple):
    name: str


class Kill(NamedTuple):
    name: str
    why: str


Act = Start | Drain | Kill


def phase(machine: Machine, bounds: Bounds, *, now_us: Micros) -> Phase:
    if machine.drain_us is not None:
        return "draining" if now_us - machine.drain_us <= bounds.drain_us else "lost"
    if machine.heard_us is None:
        return "booting" if now_us - machine.started_us <= bounds.boot_us else "lost"
    return "ready" if now_us - machine.heard_us <= bounds.silence_us else "lost"


def within(wanted: int, bounds: Bounds) -> int:
    """As many as are wanted, as far as the bounds allow."""
    return max(bounds.least, min(wanted, bounds.most))


def decide(
    wanted: int, machines: Sequence[Machine], bounds: Bounds, *, leaving: Collection[str] = (), now_us: Micros
) -> list[Act]:
    """What to do now.

    leaving: who goes first, if some must; then those that boot, the latest first, then the latest of the others.
    """
    phases = {machine.name: phase(machine, bounds, now_us=now_us) for machine in machines}
    acts: list[Act] = [Kill(machine.name, _why(machine)) for machine in machines if phases[machine.name] == "lost"]
    staying = [machine for machine in machines if phases[machine.name] in ("booting", "ready")]
    surplus = len(staying) - within(wanted, bounds)
    if surplus > 0:
        order = sorted(
            staying, key=lambda m: (m.name in leaving, phases[m.name] == "booting", m.started_us, m.name), reverse=True
        )
        acts += [Drain(machine.name) for machine in order[:surplus]]
    booting = sum(phases[machine.name] == "booting" for machine in staying)
    room = bounds.most + bounds.starts_max - len(machines)  # those that drain still take their place
    starts = min(-surplus, bounds.starts_max - booting, room)
    if starts > 0:
        acts.append(Start(starts))
    return acts


def _why(machine: Machine) -> str:
    if machine.drain_us is not None:
        return "it did not drain in time"
    return "it was never heard of" if machine.heard_us is None else "it fell silent"
