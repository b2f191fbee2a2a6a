"""A plan by rule of thumb, in about a millisecond: what there is when no solver has answered in time.

Classes in order of weight, the choosier first; each takes what is spare on lanes that it may use, then lanes of the
kind that carries it for the least share of a machine's price.
"""

from __future__ import annotations

import numpy as np

from optimizer.instance import Instance, Ints


def greedy(instance: Instance) -> tuple[list[int], list[int]]:
    """Lanes and machines by position: within every bound, though perhaps not serving everything."""
    state = _State(instance)
    for group in instance.problem.warm:
        for j in sorted((instance.position[j] for j in group), key=lambda j: float(state.price[j])):
            if state.add(j, 1):
                break
    order = [
        (-part.weight[i], sum(instance.mask[j] >> i & 1 for j in part.kinds), p, i)
        for p, part in enumerate(instance.parts)
        for i in range(len(part.demand))
    ]
    for _, _, p, i in sorted(order):
        part = instance.parts[p]
        kinds = np.array([j for j in part.kinds if instance.mask[j] >> i & 1], np.int64)
        state.serve(kinds, part.demand[i])
    return state.lanes.tolist(), state.machines.tolist()


class _State:
    def __init__(self, instance: Instance) -> None:
        pools = instance.problem.pools
        self.instance = instance
        self.lanes = np.zeros(len(instance.original), np.int64)
        self.spare = np.zeros_like(self.lanes)
        self.machines = np.array([pool.machines_min for pool in pools], np.int64)
        width = len(instance.problem.resources)
        self.size = np.array([pool.resources for pool in pools], np.int64).reshape(-1, width)  # also of no pools
        self.used = np.zeros_like(self.size)
        self.usd = np.array([pool.usd_hour for pool in pools])
        share = (instance.resources / np.maximum(1, self.size[instance.pool])).max(axis=1, initial=0.0)
        fixed = instance.problem.machines_fixed
        self.price = share * (1.0 if fixed else self.usd[instance.pool] + 1e-9)

    def serve(self, kinds: Ints, demand: int) -> None:
        for j in kinds[np.argsort(-self.instance.accuracy[kinds], kind="stable")]:
            taken = min(demand, int(self.spare[j]))
            self.spare[j] -= taken
            demand -= taken
        open_kinds = kinds
        while demand > 0 and open_kinds.size:
            value = np.minimum(self.instance.capacity[open_kinds], demand)
            j = int(open_kinds[np.argmin(self.price[open_kinds] / np.maximum(1, value))])
            capacity = int(self.instance.capacity[j])
            added = self.add(j, max(1, demand // capacity)) if capacity > 0 else 0
            if not added:
                open_kinds = open_kinds[open_kinds != j]
                continue
            taken = min(demand, added * capacity)
            self.spare[j] += added * capacity - taken
            demand -= taken

    def add(self, j: int, count: int) -> int:
        """Up to `count` lanes more, with machines where they are needed and allowed. Returns how many."""
        h, need = int(self.instance.pool[j]), self.instance.resources[j]
        asks = need > 0
        most = self._machines_max(h)
        room = (self.size[h] * most - self.used[h])[asks] // need[asks]
        added = min(count, int(room.min(initial=count)))
        if added <= 0:
            return 0
        self.lanes[j] += added
        self.used[h] += added * need
        fits = self.size[h] > 0
        self.machines[h] = max(
            int(self.machines[h]), int((-(-self.used[h][fits] // self.size[h][fits])).max(initial=0))
        )
        return added

    def _machines_max(self, h: int) -> int:
        pool, budget = self.instance.problem.pools[h], self.instance.problem.budget_usd_hour
        if budget is None or pool.usd_hour <= 0:
            return pool.machines_max
        left = budget - float(self.usd @ self.machines)
        return min(pool.machines_max, int(self.machines[h]) + max(0, int(left / pool.usd_hour + 1e-9)))
