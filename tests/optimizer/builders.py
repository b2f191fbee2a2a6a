"""One call that solves, for the optimizer's tests."""

from __future__ import annotations

import time

from optimizer.plan import Plan
from optimizer.problem import Problem
from optimizer.solve import solve


def solved(problem: Problem, *, seconds: float = 5.0, hints: tuple[Plan, ...] = ()) -> Plan:
    return solve(problem, budget_s=seconds, clock=time.monotonic, hints=hints)
