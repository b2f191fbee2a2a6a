"""Who is served where, once machines and lanes are known: an exact flow, and the plan's own account of itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optimizer.plan import Method, Plan, Status, Terms
from optimizer.problem import Problem
from optimizer.transport import transport

QUANTA = 1e9  # of the demand; times the prices below it stays within 63 bits
ACCURACY_STEPS = 100_000
UNSERVED = 64  # times an accuracy of 1: more than a chain of classes that make room for each other can lose


def planned(problem: Problem, machines: Sequence[int], lanes: Sequence[int], *, status: Status, method: Method) -> Plan:
    """The plan with these counts that leaves least unserved, and of those the most accurate one."""
    flows, unserved = assigned(problem, lanes)
    terms = _terms(problem, np.asarray(machines, float), np.asarray(lanes, float), flows, unserved)
    return Plan(
        machines=tuple(int(n) for n in machines), lanes=tuple(int(x) for x in lanes), flows=tuple(flows),
        unserved_qps=tuple(unserved), terms=terms, status=status, method=method,
    )  # fmt: skip


def assigned(problem: Problem, lanes: Sequence[int]) -> tuple[list[tuple[int, int, float]], list[float]]:
    """Flows (class, kind, queries per second) and what stays unserved by class, a minimum-cost flow."""
    total = sum(asked.demand_qps for asked in problem.classes)
    unserved = [asked.demand_qps for asked in problem.classes]
    if total <= 0:
        return [], unserved
    heaviest = max(asked.weight for asked in problem.classes)
    lightest = min(asked.weight for asked in problem.classes)
    weight_steps = 1 if heaviest == lightest else 100
    quantum = total / QUANTA
    used = sorted({j for asked in problem.classes for j in asked.kinds if lanes[j] > 0})
    sink = {j: i for i, j in enumerate(used)}
    weight = [max(1, round(asked.weight / heaviest * weight_steps)) for asked in problem.classes]
    pairs = [(c, j) for c, asked in enumerate(problem.classes) for j in asked.kinds if lanes[j] > 0]
    loss = {j: round((1.0 - problem.kinds[j].accuracy) * ACCURACY_STEPS) for j in used}
    amounts, _ = transport(
        [int(asked.demand_qps / quantum) for asked in problem.classes],
        [int(problem.kinds[j].capacity_qps * lanes[j] / quantum) for j in used],
        [(c, sink[j], weight[c] * loss[j]) for c, j in pairs],
        [w * UNSERVED * ACCURACY_STEPS for w in weight],
    )
    flows = [(c, j, amount * quantum) for (c, j), amount in zip(pairs, amounts, strict=True) if amount > 0]
    for c, _, qps in flows:
        unserved[c] -= qps
    return flows, [max(0.0, left) for left in unserved]


def _terms(
    problem: Problem, machines: Floats, lanes: Floats, flows: list[tuple[int, int, float]], unserved: list[float]
) -> Terms:
    weight = np.array([asked.weight for asked in problem.classes])
    accuracy = np.array([kind.accuracy for kind in problem.kinds])
    table = np.array(flows, float).reshape(-1, 3)
    served = weight[table[:, 0].astype(int)] * table[:, 2] * accuracy[table[:, 1].astype(int)]
    usd = float(machines @ np.array([pool.usd_hour for pool in problem.pools]))
    added = np.maximum(0.0, lanes - np.array([kind.resident for kind in problem.kinds]))
    loads = float(added @ np.array([kind.load_us for kind in problem.kinds]))
    share, missed = float(served.sum()) / problem.demand_weighted, float(weight @ unserved) / problem.demand_weighted
    money, change = usd / problem.money_ref, loads / problem.change_ref
    prices = problem.weights
    objective = prices.alpha * share - prices.beta * money - prices.gamma * change - prices.big * missed
    return Terms(accuracy=share, money=money, change=change, unserved=missed, usd_hour=usd, objective=objective)


Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
