"""What a search for a plan has found so far: the best plan by `evaluate`, the tightest bound, the time that is left."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from optimizer.assign import planned
from optimizer.evaluate import evaluate
from optimizer.instance import Instance
from optimizer.plan import Method, Plan, Status
from optimizer.problem import SHARE_TOLERANCE, Problem

Clock = Callable[[], float]


class Search:
    """Collects candidates. Nothing is kept that breaks a constraint, and nothing worse than what was there.

    Units: `clock` gives seconds; `deadline_s` is on it.
    """

    def __init__(self, problem: Problem, *, clock: Clock, budget_s: float) -> None:
        self.problem = problem
        self.clock = clock
        self.begun_s = clock()
        self.deadline_s = self.begun_s + budget_s
        self.best: Plan | None = None
        self.bound: float | None = None
        self.refused: list[str] = []  # what broke a constraint, for tests and benchmarks: always a bug
        self.unserved_proven = False
        self._offer_s = 0.0

    def left_s(self) -> float:
        """Until the deadline, with what it takes to make and check one more plan kept back."""
        return max(0.0, self.deadline_s - self._offer_s - self.clock())

    def offer(self, lanes: Sequence[int], machines: Sequence[int], *, method: Method) -> Plan | None:
        """A candidate by the problem's own indices. Returns: it as a plan, None if it breaks a constraint."""
        begun_s = self.clock()
        status: Status = "greedy" if method == "greedy" else "hint" if method == "hint" else "feasible"
        plan = planned(self.problem, machines, lanes, status=status, method=method)
        found = evaluate(plan, self.problem)
        self._offer_s = max(self._offer_s, self.clock() - begun_s)
        if not found.feasible:
            if method != "hint":  # an old plan may well not fit any more
                self.refused += [f"{method}: {words}" for words in found.broken]
            return None
        if self.best is None or plan.terms.better_than(self.best.terms):
            self.best = plan
        return plan

    def offer_counts(self, instance: Instance, lanes: Sequence[int], machines: Sequence[int], method: Method) -> None:
        self.offer(instance.lanes(list(lanes)), machines, method=method)

    def replace(self, lanes: Sequence[int], old: Plan) -> None:
        """The same machines with lanes that are better in what the objective does not price."""
        plan = planned(self.problem, old.machines, lanes, status=old.status, method=old.method)
        if evaluate(plan, self.problem).feasible and not old.terms.better_than(plan.terms):
            self.best = plan

    def bounded(self, bound: float) -> None:
        """No plan that leaves as little unserved has an objective (unserved left out) above `bound`."""
        self.bound = bound if self.bound is None else min(self.bound, bound)

    @property
    def serves_all(self) -> bool:
        return self.best is not None and self.best.terms.unserved <= SHARE_TOLERANCE

    @property
    def closed(self) -> bool:
        """Whether the best plan is as good as the bound says any could be."""
        best = self.best
        if best is None or self.bound is None:
            return False
        return self.bound - best.terms.objective - self.problem.weights.big * best.terms.unserved <= ROUNDING

    @property
    def gap(self) -> float:
        """Bound minus objective as a share of what is spent; infinite where money or the bound is not known."""
        best, prices = self.best, self.problem.weights
        if best is None or self.bound is None or prices.beta == 0:
            return math.inf
        short = self.bound - best.terms.objective - prices.big * best.terms.unserved
        return short / prices.beta * self.problem.money_ref / best.terms.usd_hour if best.terms.usd_hour > 0 else 0.0

    def result(self) -> Plan:
        """The best plan, with what is known of how good it could be."""
        plan, prices = self.best, self.problem.weights
        if plan is None:
            nothing = [0] * len(self.problem.kinds)
            machines = [pool.machines_min for pool in self.problem.pools]
            plan = planned(self.problem, machines, nothing, status="infeasible", method="greedy")
            return msgspec.structs.replace(plan, wall_s=self.clock() - self.begun_s)
        gap = usd = accuracy = None
        proven = self.serves_all or self.unserved_proven
        if self.bound is not None and proven:
            reached = plan.terms.objective + prices.big * plan.terms.unserved
            gap = max(0.0, self.bound - reached)
            usd = gap / prices.beta * self.problem.money_ref if prices.beta > 0 else None
            accuracy = gap / prices.alpha if prices.alpha > 0 else None
        return msgspec.structs.replace(
            plan, bound=self.bound, gap_usd_hour=usd, gap_accuracy=accuracy, wall_s=self.clock() - self.begun_s,
            status="optimal" if gap is not None and gap <= ROUNDING else plan.status, unserved_proven=proven,
        )  # fmt: skip


ROUNDING = 3e-6  # of the objective: units of demand, accuracy in hundred-thousandths
