"""What a solver returns: counts and flows, how good they are, and how sure one can be of it."""

from __future__ import annotations

from typing import Literal

import msgspec

# optimal: proven, for demand and capacity rounded as instance.py says. feasible: within the time, with a bound.
# greedy: no solver found anything better than the rule of thumb, or none could run. hint: the plan given is kept.
# infeasible: budget, bounds and warm lanes contradict each other; the plan is empty.
Status = Literal["optimal", "feasible", "greedy", "hint", "infeasible"]
Method = Literal["cp-sat", "dive", "scip", "greedy", "hint"]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The objective's parts, each without its weight. Units: shares of 1, but `usd_hour`."""

    accuracy: float
    money: float
    change: float
    unserved: float
    usd_hour: float
    objective: float

    def better_than(self, other: Terms, *, tolerance: float = 1e-9) -> bool:
        """Less unserved comes first, then the objective."""
        if abs(self.unserved - other.unserved) > 1e-7:
            return self.unserved < other.unserved
        return self.objective > other.objective + tolerance


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes: `machines` by pool, `lanes` by lane kind, `unserved_qps` by class; `flows` are (class, kind, qps).

    `bound` is what no plan's objective can exceed, if the solver got so far, at the least unserved. `gap_usd_hour`
    is bound minus objective priced in dollars an hour (in accuracy, 0 to 1, where money has no weight:
    `gap_accuracy`). None: nothing is known.
    """

    machines: tuple[int, ...]
    lanes: tuple[int, ...]
    flows: tuple[tuple[int, int, float], ...]
    unserved_qps: tuple[float, ...]
    terms: Terms
    status: Status
    method: Method
    bound: float | None = None
    gap_usd_hour: float | None = None
    gap_accuracy: float | None = None
    wall_s: float = 0.0
    unserved_proven: bool = False

    @property
    def gap(self) -> float | None:
        """The gap in dollars as a share of what is spent: 0 proven, None unknown."""
        if self.gap_usd_hour is None:
            return None
        return self.gap_usd_hour / self.terms.usd_hour if self.terms.usd_hour > 0 else 0.0
