"""What a plan must run though nobody asks for it, and what it may let go. Pure.

A lane costs nothing on a machine that is there, so the objective alone neither loads what is to be warm nor unloads
what nobody needs: both are said beside the plan, for whoever decides whether to carry it out.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from optimizer.plan import Plan
from optimizer.problem import Problem
from optimizer.serving import LaneOf


def warm_groups(offered: list[LaneOf], targets: tuple[str, ...] | None) -> tuple[tuple[int, ...], ...]:
    """For each target the kinds of which one should run, asked for or not: a first query finds an answer."""
    groups: dict[str, list[int]] = {} if targets is None else {target: [] for target in targets}
    for j, lane in enumerate(offered):
        offer = lane.offer
        if targets is None:
            groups.setdefault(f"task={offer.task}", []).append(j)
            continue
        for name in (f"task={offer.task}", f"model={offer.model}", f"variant={offer.variant}"):
            if name in groups:
                groups[name].append(j)
    return tuple(tuple(kinds) for _, kinds in sorted(groups.items()) if kinds)


def warming(problem: Problem, plan: Plan) -> bool:
    """Whether something is to be warm of which nothing is held, and would be."""
    return any(
        any(plan.lanes[j] for j in group) and not any(problem.kinds[j].resident for j in group)
        for group in problem.warm
    )  # fmt: skip


def needless(problem: Problem) -> tuple[str, ...]:
    """Variants that are held, that no class may use and nobody keeps warm."""
    useful = {problem.kinds[j].variant for asked in problem.classes for j in asked.kinds}
    useful |= {problem.kinds[j].variant for group in problem.warm for j in group}
    return tuple(sorted({kind.variant for kind in problem.kinds if kind.resident} - useful))


def without(problem: Problem, variants: Collection[str]) -> Problem:
    """The same problem as if nothing of these variants were held: what is held is kept where it costs nothing."""
    return msgspec.structs.replace(
        problem,
        kinds=tuple(
            msgspec.structs.replace(kind, resident=0) if kind.variant in variants else kind for kind in problem.kinds
        ),
    )  # fmt: skip
