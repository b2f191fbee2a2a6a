"""The plan's model for CP-SAT: counts of machines and lanes under Hall rows, flows only where accuracy is bought.

Objectives are whole numbers: dollars in ten-thousandths where accuracy has no weight, else accuracy lost against each
class's best, in hundred-thousandths of a unit of demand, with money and loads priced in the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from optimizer.hall import hall_rows
from optimizer.instance import Instance
from optimizer.transport import transport

ACCURACY_STEPS = 100_000
USD_STEPS = 10_000
UNSERVED_STEPS = 1_000  # a unit of demand against one lane's load, which is 1 to 20
LOAD_STEPS = 20
UNSERVED_PRICE = 64  # of an accuracy of 1, for hints
PRESOLVE_FROM_S = 0.3  # below it, and for lanes plans, presolving costs more than it gains

Linear = cp_model.LinearExpr
weighted = cp_model.LinearExpr.weighted_sum


@dataclass(frozen=True, slots=True)
class Found:
    """A solution by position in the instance. `bound` and `value` are in the objective's own units."""

    lanes: list[int]
    machines: list[int]
    value: float
    bound: float
    proven: bool


class CountModel:
    """One model, built once and solved with one objective after another.

    `flows`: variables for who is served where, which accuracy needs. `unserved`: variables for what is not served;
    without them the demand must be served.
    """

    def __init__(self, instance: Instance, *, flows: bool, unserved: bool) -> None:
        self.instance = instance
        self.model = cp_model.CpModel()
        model, problem = self.model, instance.problem
        self.machines = [model.new_int_var(p.machines_min, p.machines_max, "") for p in problem.pools]
        self.most = lanes_max(instance)
        self.lanes = [model.new_int_var(0, most, "") for most in self.most]
        self.missed: list[list[cp_model.IntVar]] = [
            [model.new_int_var(0, d, "") for d in part.demand] if unserved else [] for part in instance.parts
        ]
        self.flows: list[dict[tuple[int, int], cp_model.IntVar]] = [{} for _ in instance.parts]
        self.groups: list[list[list[int]]] = [[] for _ in instance.parts]
        self.added: dict[int, cp_model.IntVar] = {}
        self._room()
        for p in range(len(instance.parts)):
            rows, complete = hall_rows(instance, p)
            for row in rows:
                u = [self.missed[p][i] for i in row.classes] if unserved else []
                terms = [*(self.lanes[j] for j in row.kinds), *u]
                model.add(weighted(terms, [*row.coefficients, *(1 for _ in u)]) >= row.demand)
            if flows or not complete:
                self._flows(p)

    def unserved_at_most(self, units: int) -> None:
        variables, weights = self._unserved()
        self.model.add(weighted(variables, weights) <= units)

    def minimise_unserved(self) -> None:
        """Unserved first, then as few and as light loads as possible."""
        variables, weights = self._unserved()
        heaviest = max((int(us) for us in self.instance.load_us), default=0) or 1
        loads = [1 + (LOAD_STEPS - 1) * int(us) // heaviest for us in self.instance.load_us]
        terms: list[Linear] = [*variables, *(self._added(j) for j in range(len(loads)))]
        self.model.minimize(weighted(terms, [*(w * UNSERVED_STEPS for w in weights), *loads]))

    def minimise(self) -> None:
        """The problem's objective, without what is unserved."""
        instance, problem = self.instance, self.instance.problem
        prices = problem.weights
        terms: list[Linear] = []
        costs: list[int] = []
        money, change = money_price(instance), change_price(instance)
        for pool, n in zip(problem.pools, self.machines, strict=True):
            terms.append(n)
            costs.append(round(pool.usd_hour * money))
        if prices.alpha > 0:
            for p, part in enumerate(instance.parts):
                for (i, g), y in self.flows[p].items():
                    terms.append(y)
                    costs.append(part.weight[i] * lost(part.best[i], instance.accuracy[self.groups[p][g][0]]))
                for i, u in enumerate(self.missed[p]):
                    terms.append(u)
                    costs.append(part.weight[i] * lost(part.best[i], 0.0))
        for j, us in enumerate(instance.load_us.tolist()):
            if us * change > 0:
                terms.append(self._added(j))
                costs.append(round(us * change))
        self.model.minimize(weighted(terms, costs))

    def solve(
        self, seconds: float, *, lanes: Sequence[int] | None = None, machines: Sequence[int] | None = None
    ) -> Found | None:
        """Search for at most `seconds`, from a hint by position if there is one; None: nothing was found."""
        if lanes is not None and machines is not None:
            self._hint(lanes, machines)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.linearization_level = 2
        solver.parameters.max_time_in_seconds = max(0.001, seconds)
        solver.parameters.cp_model_presolve = seconds >= PRESOLVE_FROM_S
        status = solver.solve(self.model)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return None
        return Found(
            lanes=[solver.value(x) for x in self.lanes], machines=[solver.value(n) for n in self.machines],
            value=solver.objective_value, bound=solver.best_objective_bound, proven=status == cp_model.OPTIMAL,
        )  # fmt: skip

    def _room(self) -> None:
        model, instance, problem = self.model, self.instance, self.instance.problem
        pool_of = instance.pool.tolist()
        for h, pool in enumerate(problem.pools):
            for k, room in enumerate(pool.resources):
                inside = [(j, int(instance.resources[j, k])) for j, at in enumerate(pool_of) if at == h]
                inside = [(j, need) for j, need in inside if need > 0]
                if inside:
                    used = weighted([self.lanes[j] for j, _ in inside], [need for _, need in inside])
                    model.add(used <= room * self.machines[h])
        if problem.budget_usd_hour is not None:
            spent = weighted(self.machines, [math.ceil(p.usd_hour * USD_STEPS - 1e-6) for p in problem.pools])
            model.add(spent <= math.floor(problem.budget_usd_hour * USD_STEPS + 1e-6))
        for group in problem.warm:
            model.add(cp_model.LinearExpr.sum([self.lanes[instance.position[j]] for j in group]) >= 1)

    def _flows(self, p: int) -> None:
        instance, part, model = self.instance, self.instance.parts[p], self.model
        grouped: dict[tuple[int, float], list[int]] = {}
        for j in part.kinds:
            grouped.setdefault((instance.mask[j], float(instance.accuracy[j])), []).append(j)
        self.groups[p] = list(grouped.values())
        by_class: list[list[Linear]] = [[] for _ in part.demand]
        for g, ((mask, _), kinds) in enumerate(grouped.items()):
            inside = [i for i in range(len(part.demand)) if mask >> i & 1]
            for i in inside:
                self.flows[p][i, g] = y = model.new_int_var(0, part.demand[i], "")
                by_class[i].append(y)
            load = cp_model.LinearExpr.sum([self.flows[p][i, g] for i in inside])
            model.add(load <= weighted([self.lanes[j] for j in kinds], [int(instance.capacity[j]) for j in kinds]))
        for i, served in enumerate(by_class):
            model.add(cp_model.LinearExpr.sum([*served, *self.missed[p][i : i + 1]]) == part.demand[i])

    def _unserved(self) -> tuple[list[cp_model.IntVar], list[int]]:
        pairs = [
            (u, weight)
            for part, missed in zip(self.instance.parts, self.missed, strict=True)
            for u, weight in zip(missed, part.weight, strict=True)
        ]
        return [u for u, _ in pairs], [w for _, w in pairs]

    def _added(self, j: int) -> Linear:
        """Lanes of kind j that are loaded anew."""
        resident = int(self.instance.resident[j])
        if resident == 0:
            return self.lanes[j]
        if j not in self.added:
            self.added[j] = added = self.model.new_int_var(0, max(0, self.most[j] - resident), "")
            self.model.add(added >= self.lanes[j] - resident)
        return self.added[j]

    def _hint(self, lanes: Sequence[int], machines: Sequence[int]) -> None:
        """Every variable, since an incomplete hint is often lost."""
        self.model.clear_hints()  # type: ignore[no-untyped-call]
        for variable, value in zip([*self.lanes, *self.machines], [*lanes, *machines], strict=True):
            self.model.add_hint(variable, value)
        for j, added in self.added.items():
            self.model.add_hint(added, max(0, lanes[j] - int(self.instance.resident[j])))
        for p in range(len(self.instance.parts)):
            amounts, missed = unit_flows(self.instance, p, lanes, self.groups[p] or None)
            for pair, y in self.flows[p].items():
                self.model.add_hint(y, amounts.get(pair, 0))
            for i, u in enumerate(self.missed[p]):
                self.model.add_hint(u, missed[i])


def lanes_max(instance: Instance) -> list[int]:
    """How many lanes of each kind can be of use, and fit; at least the resident ones that would fit."""
    most = []
    warm = {instance.position[j] for group in instance.problem.warm for j in group}
    reach: dict[tuple[int, int], int] = {}
    part_of = {j: p for p, part in enumerate(instance.parts) for j in part.kinds}
    for j, (capacity, h) in enumerate(zip(instance.capacity.tolist(), instance.pool.tolist(), strict=True)):
        pool = instance.problem.pools[h]
        needs = zip(pool.resources, instance.resources[j].tolist(), strict=True)
        fits = min((room * pool.machines_max // need for room, need in needs if need > 0), default=0)
        p = part_of.get(j, -1)
        key = (p, instance.mask[j])
        if p >= 0 and key not in reach:
            reach[key] = instance.parts[p].demand_of(instance.mask[j])
        useful = -(-reach[key] // capacity) if p >= 0 and capacity > 0 else 0
        most.append(min(fits, max(useful, int(instance.resident[j]), 1 if j in warm else 0)))
    return most


def unit_flows(
    instance: Instance, p: int, lanes: Sequence[int], groups: list[list[int]] | None = None
) -> tuple[dict[tuple[int, int], int], list[int]]:
    """Whole flows of one part by (class, group), and what is unserved by class, for given lanes."""
    part = instance.parts[p]
    if groups is None:
        groups = [[j] for j in part.kinds if lanes[j] > 0]
    capacities = [sum(int(instance.capacity[j]) * lanes[j] for j in group) for group in groups]
    arcs = [
        (i, g, part.weight[i] * lost(1.0, instance.accuracy[group[0]]))
        for g, group in enumerate(groups)
        if capacities[g] > 0
        for i in range(len(part.demand))
        if instance.mask[group[0]] >> i & 1
    ]
    amounts, missed = transport(
        part.demand, capacities, arcs, [w * UNSERVED_PRICE * ACCURACY_STEPS for w in part.weight]
    )
    return {(i, g): amount for (i, g, _), amount in zip(arcs, amounts, strict=True) if amount}, missed


def units_unserved(instance: Instance, lanes: Sequence[int]) -> int:
    """Weighted whole units that these lanes leave unserved."""
    total = 0
    for p, part in enumerate(instance.parts):
        _, missed = unit_flows(instance, p, lanes)
        total += sum(w * u for w, u in zip(part.weight, missed, strict=True))
    return total


def lost(best: float, accuracy: float) -> int:
    return round((best - accuracy) * ACCURACY_STEPS)


def weighted_units(instance: Instance) -> int:
    return sum(d * w for part in instance.parts for d, w in zip(part.demand, part.weight, strict=True)) or 1


def money_price(instance: Instance) -> float:
    """Objective units for a dollar an hour."""
    problem, prices = instance.problem, instance.problem.weights
    if prices.alpha == 0:
        return USD_STEPS
    return prices.beta / prices.alpha / problem.money_ref * weighted_units(instance) * ACCURACY_STEPS


def change_price(instance: Instance) -> float:
    """Objective units for a microsecond of loading."""
    problem, prices = instance.problem, instance.problem.weights
    if prices.alpha == 0:
        return prices.gamma / prices.beta * problem.money_ref / problem.change_ref * USD_STEPS if prices.beta else 0.0
    return prices.gamma / prices.alpha / problem.change_ref * weighted_units(instance) * ACCURACY_STEPS


def objective_of(instance: Instance, value: float) -> float:
    """A value (or bound) of `minimise` in the problem's units, what is unserved left out."""
    problem, prices = instance.problem, instance.problem.weights
    if prices.alpha == 0:  # without beta, too, dollars only break ties
        return -prices.beta * value / USD_STEPS / problem.money_ref
    best = sum(
        d * w * b for part in instance.parts for d, w, b in zip(part.demand, part.weight, part.best, strict=True)
    )
    return float(prices.alpha * (best - value / ACCURACY_STEPS) / weighted_units(instance))
