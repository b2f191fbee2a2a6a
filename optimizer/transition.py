"""From the state that is to the one that is planned: what to do first, and when not to do it at all.

Create before destroy: machines, then loads, then (once what replaces them is ready) unloads and drained machines.
Scaling in needs `hold` plans that agree and is never done on a forecast alone; each step is bounded.
"""

from __future__ import annotations

import msgspec

from optimizer.problem import Problem


class Hysteresis(msgspec.Struct, frozen=True, kw_only=True):
    """`hold`: plans in a row that must want fewer machines. `step_out`, `step_in`: machines a pool, a plan."""

    hold: int = 2
    step_out: int = 16
    step_in: int = 4


class PoolState(msgspec.Struct, frozen=True, kw_only=True):
    """One pool's memory. `agreed`: how many plans in a row wanted fewer; `most`: the largest of their wishes."""

    agreed: int = 0
    most: int = 0


class PoolMove(msgspec.Struct, frozen=True, kw_only=True):
    """What a pool's size should be now, why it is not what was planned (empty: it is), and what to remember."""

    machines: int
    why: str
    state: PoolState


def sized(planned: int, alive: int, *, needed_now: int, state: PoolState, rule: Hysteresis) -> PoolMove:
    """One pool's next size.

    `alive` counts what boots, so that nothing is ordered twice. `needed_now` is what the same plan would need for the
    load that was measured, backlog included: a lower forecast alone never scales in. Machines leave slowly: a smaller
    size, once agreed on, stands while the plans agree, whether or not `alive` has come down to it.
    """
    if planned > alive:
        size = min(planned, alive + rule.step_out)
        return PoolMove(machines=size, why="" if size == planned else "step", state=PoolState())
    wanted = max(planned, min(needed_now, alive))
    if wanted >= alive:
        return PoolMove(machines=alive, why="" if planned == alive else "measured load", state=PoolState())
    agreed = state.agreed + 1
    most = max(wanted, state.most) if state.agreed else wanted
    if agreed < rule.hold:
        return PoolMove(machines=alive, why="hold", state=PoolState(agreed=agreed, most=most))
    size = max(most, alive - rule.step_in)
    return PoolMove(
        machines=size, why="" if size == planned else "step" if size > most else "measured load",
        state=PoolState(agreed=agreed, most=wanted),
    )  # fmt: skip


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """Three phases, each to be finished before the next: `start`, `load`, then `unload` and `stop`.

    Shapes: `start` and `stop` machines by pool; `load` and `unload` lanes by kind. `load_us` sums the loads.
    `room`: kinds whose loads fit only after some unloads, since the machines are full (then the unload comes first).
    """

    start: tuple[int, ...]
    load: tuple[int, ...]
    unload: tuple[int, ...]
    stop: tuple[int, ...]
    load_us: int
    room: tuple[int, ...]


def transition(problem: Problem, machines: tuple[int, ...], lanes: tuple[int, ...]) -> Transition:
    """What leads from `machines_now` and `resident` to these counts."""
    load = tuple(max(0, x - kind.resident) for x, kind in zip(lanes, problem.kinds, strict=True))
    unload = tuple(max(0, kind.resident - x) for x, kind in zip(lanes, problem.kinds, strict=True))
    start = tuple(max(0, n - pool.machines_now) for n, pool in zip(machines, problem.pools, strict=True))
    stop = tuple(max(0, pool.machines_now - n) for n, pool in zip(machines, problem.pools, strict=True))
    room: list[int] = []
    for h, pool in enumerate(problem.pools):
        alive = max(machines[h], pool.machines_now)
        inside = [j for j, kind in enumerate(problem.kinds) if kind.pool == h]
        for k, size in enumerate(pool.resources):
            both = sum(problem.kinds[j].resources[k] * (problem.kinds[j].resident + load[j]) for j in inside)
            if both > size * alive:
                room += [j for j in inside if load[j] > 0 and problem.kinds[j].resources[k] > 0 and j not in room]
    return Transition(
        start=start, load=load, unload=unload, stop=stop, room=tuple(sorted(room)),
        load_us=sum(n * kind.load_us for n, kind in zip(load, problem.kinds, strict=True)),
    )  # fmt: skip
