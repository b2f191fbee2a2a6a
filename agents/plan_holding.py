"""As which lane kinds the lanes that are held count: a loaded instance runs batches of any size up to its cap. Pure.

The planner's kinds are (variant, pool, batch cap). What is held has no cap yet: each instance counts as the kind that
serves most of what is asked and not served yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optimizer.problem import QueryClass
from optimizer.serving import LaneOf


def held_as(
    offered: Sequence[LaneOf], classes: Sequence[QueryClass], held: Mapping[tuple[str, str], int]
) -> dict[int, int]:
    """Lanes by kind (position in `offered`), from lanes by (variant, pool); the most accurate ones choose first.

    An instance that serves nothing counts as the kind with the smallest batch.
    """
    left = [asked.demand_qps for asked in classes]
    serves: dict[int, list[int]] = {}
    for c in sorted(range(len(classes)), key=lambda c: len(classes[c].kinds)):  # who has fewest kinds goes first
        for j in classes[c].kinds:
            serves.setdefault(j, []).append(c)
    options: dict[tuple[str, str], list[int]] = {}
    for j, lane in enumerate(offered):
        options.setdefault((lane.offer.variant, lane.offer.pool), []).append(j)
    counts: dict[int, int] = {}
    for at in sorted(held.keys() & options.keys(), key=lambda at: (-offered[options[at][0]].kind.accuracy, at)):
        kinds = sorted(options[at], key=lambda j: offered[j].batch)
        for _ in range(held[at]):
            best = max(
                kinds, key=lambda j: min(offered[j].kind.capacity_qps, sum(left[c] for c in serves.get(j, ())))
            )  # fmt: skip
            counts[best] = counts.get(best, 0) + 1
            room = offered[best].kind.capacity_qps
            for c in serves.get(best, ()):
                taken = min(room, left[c])
                left[c] -= taken
                room -= taken
    return counts
