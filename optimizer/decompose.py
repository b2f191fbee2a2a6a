"""Problems that share nothing, taken apart: tasks whose lanes stand on different pools decide by themselves.

A budget ties all of them together, and so does a warm group over two parts; then there is one piece, the whole.
"""

from __future__ import annotations

import msgspec

from optimizer.problem import Problem


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One part as a problem of its own; the rest are its indices in the whole."""

    problem: Problem
    pools: tuple[int, ...]
    kinds: tuple[int, ...]
    classes: tuple[int, ...]


def pieces(problem: Problem) -> list[Piece]:
    """Independent pieces. Their objectives add up to the whole's but for what every piece scales by itself.

    So that they do, each keeps the whole's `usd_ref` and `load_ref_us`, and its weights are divided by the share of
    the demand that the piece has (`alpha` and `big` are per unit of all demand).
    """
    if problem.budget_usd_hour is not None or len(problem.pools) < 2:
        return [_whole(problem)]
    label = list(range(len(problem.pools)))

    def join(pools: set[int]) -> None:
        low = {label[h] for h in pools}
        if len(low) > 1:
            for h, at in enumerate(label):
                if at in low:
                    label[h] = min(low)

    for asked in problem.classes:
        join({problem.kinds[j].pool for j in asked.kinds})
    for group in problem.warm:
        join({problem.kinds[j].pool for j in group})
    if len(set(label)) < 2:
        return [_whole(problem)]
    return [_piece(problem, {h for h, at in enumerate(label) if at == one}) for one in sorted(set(label))]


def _piece(problem: Problem, pools: set[int]) -> Piece:
    inside = sorted(pools)
    kinds = [j for j, kind in enumerate(problem.kinds) if kind.pool in pools]
    pool_at, kind_at = {h: i for i, h in enumerate(inside)}, {j: i for i, j in enumerate(kinds)}
    first = min(pools) == 0
    classes = [
        c for c, asked in enumerate(problem.classes)
        if (asked.kinds and problem.kinds[asked.kinds[0]].pool in pools) or (first and not asked.kinds)
    ]  # fmt: skip
    made = msgspec.structs.replace(
        problem,
        pools=tuple(problem.pools[h] for h in inside),
        kinds=tuple(
            msgspec.structs.replace(problem.kinds[j], pool=pool_at[problem.kinds[j].pool]) for j in kinds
        ),
        classes=tuple(
            msgspec.structs.replace(problem.classes[c], kinds=tuple(kind_at[j] for j in problem.classes[c].kinds))
            for c in classes
        ),
        warm=tuple(tuple(kind_at[j] for j in group) for group in problem.warm if group[0] in kind_at),
        usd_ref=problem.money_ref, load_ref_us=problem.change_ref,
    )  # fmt: skip
    demand = sum(problem.classes[c].weight * problem.classes[c].demand_qps for c in classes)
    share = demand / problem.demand_weighted
    weights = msgspec.structs.replace(
        problem.weights, alpha=problem.weights.alpha * share, big=problem.weights.big * share
    )
    made = msgspec.structs.replace(made, weights=weights)
    return Piece(problem=made, pools=tuple(inside), kinds=tuple(kinds), classes=tuple(classes))


def _whole(problem: Problem) -> Piece:
    return Piece(
        problem=problem, pools=tuple(range(len(problem.pools))), kinds=tuple(range(len(problem.kinds))),
        classes=tuple(range(len(problem.classes))),
    )  # fmt: skip
