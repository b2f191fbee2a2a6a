"""From counts to machines: which executor holds which lanes, with the fewest moves.

A plan counts resources in sum over a pool; lanes are whole and so are machines. Small pools are packed exactly by
CP-SAT, large ones by first fit, largest first. What has no place is named, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
from ortools.sat.python import cp_model

from optimizer.problem import LaneKind, Problem

EXACT_MACHINES = 40  # above it the exact model takes longer than a plan may


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes: `machines` is one mapping (lane kind -> lanes) per machine; `homeless` lanes by kind that fit nowhere.

    `loads` and `unloads` are lanes that come and go against the previous placement.
    """

    machines: tuple[dict[int, int], ...]
    homeless: dict[int, int]
    loads: int
    unloads: int
    exact: bool


def place(
    problem: Problem, pool: int, lanes: Sequence[int], now: Sequence[Mapping[int, int]], *, seconds: float,
    barred: Sequence[Collection[int]] = (),
) -> Placement:  # fmt: skip
    """Put the lanes of one pool on `len(now)` machines.

    Shapes: `now` is what each machine holds (empty for a new one), `barred` the kinds that it must not hold; no
            `barred` at all is none anywhere.
    """
    wanted = {j: int(lanes[j]) for j, kind in enumerate(problem.kinds) if kind.pool == pool and lanes[j] > 0}
    barred = barred or [()] * len(now)
    packed = first_fit(problem, pool, wanted, now, barred)
    if len(now) <= EXACT_MACHINES and seconds > 0 and (packed.homeless or packed.loads > _least_loads(wanted, now)):
        exact = _exact(problem, pool, wanted, now, barred, packed, seconds)
        if exact is not None:
            return exact
    return packed


def first_fit(
    problem: Problem, pool: int, wanted: Mapping[int, int], now: Sequence[Mapping[int, int]],
    barred: Sequence[Collection[int]] = (),
) -> Placement:  # fmt: skip
    """Lanes that are there and wanted stay; the others go where they fit, those that need most first."""
    size = problem.pools[pool].resources
    left = dict(wanted)
    made: list[dict[int, int]] = [{} for _ in now]
    room = [list(size) for _ in now]

    def put(m: int, j: int, most: int) -> int:
        if barred and j in barred[m]:
            return 0
        needs = problem.kinds[j].resources
        fits = min((free // need for free, need in zip(room[m], needs, strict=True) if need > 0), default=most)
        count = min(most, fits)
        if count > 0:
            made[m][j] = made[m].get(j, 0) + count
            room[m] = [free - need * count for free, need in zip(room[m], needs, strict=True)]
        return count

    for m, held in enumerate(now):
        for j, count in held.items():
            left[j] = left.get(j, 0) - put(m, j, min(count, left.get(j, 0)))
    share = {j: max((n / max(1, s) for n, s in zip(problem.kinds[j].resources, size, strict=True))) for j in left}
    for j in sorted((j for j in left if left[j] > 0), key=lambda j: (-share[j], j)):
        for m in range(len(now)):
            if left[j] > 0:
                left[j] -= put(m, j, left[j])
    return _counted(made, {j: n for j, n in left.items() if n > 0}, now, exact=False)


def tightened(problem: Problem, pool: int, placed: Placement) -> Problem:
    """The same problem with no more lanes of what found no place in this pool than found one.

    For a re-solve, a few times; what has no place then is reported. Kinds of one variant count together. Taking room
    from the pool instead would take it from narrow lanes too, which still fit where the wide one did not.
    """
    for j in placed.homeless:
        variant = problem.kinds[j].variant
        kinds = {i for i, kind in enumerate(problem.kinds) if kind.pool == pool and kind.variant == variant and variant}
        stand = sum(held.get(j, 0) for held in placed.machines)
        problem = _bounded(problem, pool, kinds | {j}, stand, lambda _: 1, machines=len(placed.machines))
    return problem


def confined(problem: Problem, pool: int, kinds: Collection[int], *, free: int, machines: int) -> Problem:
    """The same problem where these kinds have room on `free` of the pool's `machines` machines only."""
    first = problem.pools[pool].resources[0]
    return _bounded(problem, pool, kinds, free * first, lambda kind: kind.resources[0], machines=machines)


def _bounded(
    problem: Problem, pool: int, kinds: Collection[int], room: int, need: Callable[[LaneKind], int], *, machines: int
) -> Problem:  # fmt: skip
    """One more resource, of which these kinds need `need` and the pool's machines together have `room`.

    A pool has as much as a machine has times the machines, so both are written `machines` times as large.
    """
    return msgspec.structs.replace(
        problem, resources=(*problem.resources, f"bound {len(problem.resources)}"),
        usd_ref=problem.money_ref, load_ref_us=problem.change_ref,
        pools=tuple(
            msgspec.structs.replace(each, resources=(*each.resources, room if h == pool else 0))
            for h, each in enumerate(problem.pools)
        ),
        kinds=tuple(
            msgspec.structs.replace(kind, resources=(*kind.resources, machines * need(kind) if j in kinds else 0))
            for j, kind in enumerate(problem.kinds)
        ),
    )  # fmt: skip


def _exact(
    problem: Problem, pool: int, wanted: Mapping[int, int], now: Sequence[Mapping[int, int]],
    barred: Sequence[Collection[int]], hint: Placement, seconds: float,
) -> Placement | None:  # fmt: skip
    model = cp_model.CpModel()
    size = problem.pools[pool].resources
    at = {
        (m, j): model.new_int_var(0, 0 if j in barred[m] else n, "") for m in range(len(now)) for j, n in wanted.items()
    }
    out = {j: model.new_int_var(0, n, "") for j, n in wanted.items()}
    terms: list[cp_model.LinearExpr] = []
    costs: list[int] = []
    for j, n in wanted.items():
        model.add(cp_model.LinearExpr.sum([*(at[m, j] for m in range(len(now))), out[j]]) == n)
        terms.append(out[j])
        costs.append(1_000)
    for m, held in enumerate(now):
        for k, room in enumerate(size):
            needs = [problem.kinds[j].resources[k] for j in wanted]
            model.add(cp_model.LinearExpr.weighted_sum([at[m, j] for j in wanted], needs) <= room)
        for j in wanted:
            before = held.get(j, 0)
            new = at[m, j]
            if before > 0:
                new = model.new_int_var(0, wanted[j], "")
                model.add(new >= at[m, j] - before)
                model.add_hint(new, max(0, hint.machines[m].get(j, 0) - before))
            terms.append(new)
            costs.append(1)
            model.add_hint(at[m, j], hint.machines[m].get(j, 0))
    for j in wanted:
        model.add_hint(out[j], hint.homeless.get(j, 0))
    model.minimize(cp_model.LinearExpr.weighted_sum(terms, costs))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    made = [{j: n for j in wanted if (n := solver.value(at[m, j])) > 0} for m in range(len(now))]
    homeless = {j: n for j in wanted if (n := solver.value(out[j])) > 0}
    return _counted(made, homeless, now, exact=status == cp_model.OPTIMAL)


def _counted(
    made: list[dict[int, int]], homeless: dict[int, int], now: Sequence[Mapping[int, int]], *, exact: bool
) -> Placement:
    loads = unloads = 0
    for new, old in zip(made, now, strict=True):
        loads += sum(max(0, n - old.get(j, 0)) for j, n in new.items())
        unloads += sum(max(0, n - new.get(j, 0)) for j, n in old.items())
    return Placement(machines=tuple(made), homeless=homeless, loads=loads, unloads=unloads, exact=exact)


def _least_loads(wanted: Mapping[int, int], now: Sequence[Mapping[int, int]]) -> int:
    """No placement loads fewer lanes than this."""
    return sum(max(0, n - sum(held.get(j, 0) for held in now)) for j, n in wanted.items())
