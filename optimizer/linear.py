"""The plan's model as arrays for GLOP and SCIP: grouped flows and Hall rows, in dollars, thousands of machines.

Money is the unit (accuracy where money has no weight), since shares of a large fleet's price come near the solvers'
tolerances. Unserved demand stays possible at a price that no plan would choose to pay.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ortools.math_opt import model_pb2
from ortools.math_opt.python import mathopt

from optimizer.cpsat import lanes_max, unit_flows
from optimizer.hall import hall_rows
from optimizer.instance import Floats, Instance

FLOW_UNIT = 1_000  # units of demand in one of the model's: keeps coefficients near 1
UNSERVED_PRICE = 500.0  # times the dearest plan, for all demand: the dive may still leave some
INFINITY = float("inf")


@dataclass(frozen=True, slots=True)
class Searched:
    """Values of all columns, and what no solution can be below."""

    values: Floats
    bound: float


class LinearModel:
    """Columns: lanes, machines, loads beyond resident lanes, then per part unserved and flows."""

    def __init__(self, instance: Instance, *, flows: bool) -> None:
        self.instance = instance
        self.lower: list[float] = []
        self.upper: list[float] = []
        self.cost: list[float] = []
        self.unserved: set[int] = set()
        self._row: list[np.ndarray] = []
        self._column: list[np.ndarray] = []
        self._value: list[np.ndarray] = []
        self._row_lower: list[float] = []
        self._row_upper: list[float] = []
        self._columns(flows=flows)
        self._room()
        self.groups: list[list[list[int]]] = []
        for p in range(len(instance.parts)):
            self._part(p, flows=flows)
        self.model, self.variables = self._built()
        self._solver: mathopt.IncrementalSolver | None = None

    def relaxed(self, seconds: float) -> tuple[Floats, float] | None:
        """Values of all columns and the objective of the linear relaxation; None: none within the time."""
        if self._solver is None:
            self._integers(whole=False)
            self._solver = mathopt.IncrementalSolver(self.model, mathopt.SolverType.GLOP)
        params = mathopt.SolveParameters(time_limit=_delta(seconds))
        result = self._solver.solve(params=params)
        if result.termination.reason != mathopt.TerminationReason.OPTIMAL:
            return None
        return np.array(result.variable_values(self.variables)), float(result.objective_value())

    def bound(self, column: int, *, lower: float | None = None, upper: float | None = None) -> None:
        if lower is not None:
            self.variables[column].lower_bound = lower
        if upper is not None:
            self.variables[column].upper_bound = upper

    def searched(self, seconds: float, hint: Sequence[float], *, absolute_gap: float) -> Searched | None:
        """SCIP from a complete hint that serves all demand, as every answer then must.

        Returns: None where nothing was found, not even from the hint.
        """
        for column, (low, high) in enumerate(zip(self.lower, self.upper, strict=True)):
            self.bound(column, lower=low, upper=0.0 if column in self.unserved else high)
        self._integers(whole=True)
        values = dict(zip(self.variables, map(float, hint), strict=True))
        result = mathopt.solve(
            self.model,
            mathopt.SolverType.GSCIP,
            params=mathopt.SolveParameters(
                threads=1, time_limit=_delta(seconds), relative_gap_tolerance=0.0, absolute_gap_tolerance=absolute_gap
            ),
            model_params=mathopt.ModelSolveParameters(solution_hints=[mathopt.SolutionHint(variable_values=values)]),
        )
        if not result.has_primal_feasible_solution():
            return None
        return Searched(values=np.array(result.variable_values(self.variables)), bound=float(result.dual_bound()))

    def hint(self, lanes: Sequence[int], machines: Sequence[int]) -> list[float]:
        """Values of every column for these counts by position."""
        values = [*map(float, lanes), *map(float, machines)]
        values += [float(max(0, lanes[j] - int(self.instance.resident[j]))) for j in self.held]
        for p, part in enumerate(self.instance.parts):
            amounts, missed = unit_flows(self.instance, p, lanes, self.groups[p] or None)
            values += [u / FLOW_UNIT for u in missed]
            for g, group in enumerate(self.groups[p]):
                mask = self.instance.mask[group[0]]
                inside = (i for i in range(len(part.demand)) if mask >> i & 1)
                values += [amounts.get((i, g), 0) / FLOW_UNIT for i in inside]
        return values

    @property
    def lane_columns(self) -> int:
        return len(self.instance.original)

    def _columns(self, *, flows: bool) -> None:
        instance, problem, prices = self.instance, self.instance.problem, self.instance.problem.weights
        dollars = prices.alpha == 0 or prices.beta > 0
        self.money = 1.0 if dollars else 0.0
        served = sum(d * w for part in instance.parts for d, w in zip(part.demand, part.weight, strict=True)) or 1
        # What an accuracy of 1 over all demand is worth, in the model's unit.
        self.worth = (prices.alpha / prices.beta * problem.money_ref if prices.beta > 0 else prices.alpha) * (
            flows or 0
        )
        self.per_unit = self.worth * FLOW_UNIT / served
        change = prices.gamma / problem.change_ref * (problem.money_ref / prices.beta if prices.beta > 0 else 1.0)
        self.lower += [0.0] * len(instance.original)
        self.upper += [float(most) for most in lanes_max(instance)]
        priced = [change * us for us in instance.load_us.tolist()]
        self.held = [j for j, x0 in enumerate(instance.resident.tolist()) if x0 > 0 and priced[j] > 0]
        self.cost += [0.0 if j in self.held else price for j, price in enumerate(priced)]
        self.lower += [float(pool.machines_min) for pool in problem.pools]
        self.upper += [float(pool.machines_max) for pool in problem.pools]
        self.cost += [pool.usd_hour * self.money for pool in problem.pools]
        for j in self.held:  # lanes beyond the resident ones
            self._column_of(INFINITY, priced[j])
        dearest = sum(pool.usd_hour * pool.machines_max for pool in problem.pools) * self.money
        self.unserved_price = UNSERVED_PRICE * (dearest + self.worth + 1.0) * FLOW_UNIT / served

    def _room(self) -> None:
        instance, problem = self.instance, self.instance.problem
        lanes = len(instance.original)
        first = lanes + len(problem.pools)
        for at, j in enumerate(self.held):
            self._add([j, first + at], [1.0, -1.0], upper=float(instance.resident[j]))
        for h, pool in enumerate(problem.pools):
            inside = np.flatnonzero(instance.pool == h)
            for k, room in enumerate(pool.resources):
                need = instance.resources[inside, k] / max(1, room)
                self._add([*inside, lanes + h], [*need, -1.0 if room else 0.0], upper=0.0)
        if problem.budget_usd_hour is not None:
            machines = range(lanes, lanes + len(problem.pools))
            self._add(list(machines), [pool.usd_hour for pool in problem.pools], upper=problem.budget_usd_hour)
        for group in problem.warm:
            self._add([instance.position[j] for j in group], [1.0] * len(group), lower=1.0)

    def _part(self, p: int, *, flows: bool) -> None:
        instance, part = self.instance, self.instance.parts[p]
        first = len(self.cost)
        self.unserved |= set(range(first, first + len(part.demand)))
        for i, demand in enumerate(part.demand):
            loss = self.per_unit * part.weight[i] * part.best[i]
            self._column_of(demand / FLOW_UNIT, self.unserved_price * part.weight[i] + loss)
        rows, complete = hall_rows(instance, p)
        for row in rows:
            scale = row.demand
            u = [first + i for i in row.classes]
            values = [c / scale for c in row.coefficients] + [FLOW_UNIT / scale] * len(u)
            self._add([*row.kinds, *u], values, lower=1.0)
        grouped: dict[tuple[int, float], list[int]] = {}
        if flows or not complete:
            for j in part.kinds:
                grouped.setdefault((instance.mask[j], float(instance.accuracy[j])), []).append(j)
        self.groups.append(list(grouped.values()))
        of_class: list[list[int]] = [[first + i] for i in range(len(part.demand))]
        for (mask, accuracy), kinds in grouped.items():
            flow: list[int] = []
            for i in (i for i in range(len(part.demand)) if mask >> i & 1):
                flow.append(len(self.cost))
                of_class[i].append(len(self.cost))
                self._column_of(part.demand[i] / FLOW_UNIT, self.per_unit * part.weight[i] * (part.best[i] - accuracy))
            room = [-float(instance.capacity[j]) / FLOW_UNIT for j in kinds]
            self._add([*kinds, *flow], [*room, *(1.0 for _ in flow)], upper=0.0)
        if grouped:
            for i, columns in enumerate(of_class):
                wanted = part.demand[i] / FLOW_UNIT
                self._add(columns, [1.0] * len(columns), lower=wanted, upper=wanted)

    def _column_of(self, upper: float, cost: float) -> None:
        self.lower.append(0.0)
        self.upper.append(upper)
        self.cost.append(cost)

    def _add(
        self, columns: Sequence[int], values: Sequence[float], *, lower: float = -INFINITY, upper: float = INFINITY
    ) -> None:
        order = np.argsort(np.array(columns, np.int64))
        self._row.append(np.full(len(order), len(self._row_lower), np.int64))
        self._column.append(np.array(columns, np.int64)[order])
        self._value.append(np.array(values, np.float64)[order])
        self._row_lower.append(lower)
        self._row_upper.append(upper)

    def _built(self) -> tuple[mathopt.Model, list[mathopt.Variable]]:
        proto = model_pb2.ModelProto()
        count, rows = len(self.cost), len(self._row_lower)
        proto.variables.ids.extend(range(count))
        proto.variables.lower_bounds.extend(self.lower)
        proto.variables.upper_bounds.extend(self.upper)
        proto.variables.integers.extend([False] * count)
        proto.objective.linear_coefficients.ids.extend(range(count))
        proto.objective.linear_coefficients.values.extend(self.cost)
        proto.linear_constraints.ids.extend(range(rows))
        proto.linear_constraints.lower_bounds.extend(self._row_lower)
        proto.linear_constraints.upper_bounds.extend(self._row_upper)
        matrix = proto.linear_constraint_matrix
        if rows:
            matrix.row_ids.extend(np.concatenate(self._row).tolist())
            matrix.column_ids.extend(np.concatenate(self._column).tolist())
            matrix.coefficients.extend(np.concatenate(self._value).tolist())
        model = mathopt.Model.from_model_proto(proto)
        return model, list(model.variables())

    def _integers(self, *, whole: bool) -> None:
        for variable in self.variables[: self.lane_columns + len(self.instance.problem.pools)]:
            variable.integer = whole


def _delta(seconds: float) -> dt.timedelta:
    return dt.timedelta(seconds=max(0.001, seconds))
