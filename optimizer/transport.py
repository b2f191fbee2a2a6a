"""The cheapest way to serve demands on capacities, in whole units: one minimum-cost flow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ortools.graph.python import min_cost_flow

Arc = tuple[int, int, int]  # source, sink, price of a unit


def transport(
    demands: Sequence[int], capacities: Sequence[int], arcs: Sequence[Arc], unserved_price: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Amounts along `arcs`, and what of each demand finds no place.

    Shapes: `unserved_price` by demand, above any price of an arc. Prices times all demand must stay below 2 ** 62.
    """
    sources, sinks = len(demands), len(capacities)
    end = sources + sinks
    count = len(arcs)
    tail = np.empty(count + sources + sinks, np.int32)
    head = np.empty_like(tail)
    room = np.empty(len(tail), np.int64)
    price = np.zeros_like(room)
    if count:
        table = np.array(arcs, np.int64)
        tail[:count], head[:count], price[:count] = table[:, 0], sources + table[:, 1], table[:, 2]
        room[:count] = np.array(demands, np.int64)[table[:, 0]]
    tail[count : count + sources], head[count : count + sources] = np.arange(sources), end
    room[count : count + sources], price[count : count + sources] = demands, unserved_price
    tail[count + sources :], head[count + sources :] = sources + np.arange(sinks), end
    room[count + sources :] = np.minimum(np.array(capacities, np.int64), sum(demands))
    solver = min_cost_flow.SimpleMinCostFlow()
    solver.add_arcs_with_capacity_and_unit_cost(tail, head, room, price)
    solver.set_nodes_supplies(np.arange(sources, dtype=np.int32), np.array(demands, np.int64))
    solver.set_node_supply(end, -sum(demands))
    status = solver.solve()
    assert status == solver.OPTIMAL, f"the flow problem ended as {status}"
    amounts = solver.flows(np.arange(count + sources, dtype=np.int32)).tolist()
    return amounts[:count], amounts[count:]
