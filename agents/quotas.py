"""The plan's shares as the router follows them: each class may send so many queries a second to each group.

A plan is made for an upper quantile of the load. By fixed proportions the less accurate variants would get their part
also while there is room on the better ones; so the planned flows are rates. The most accurate group whose rate is not
used up comes first, and of a load below the plan's more is served accurately. What is beyond all rates, or predicted
late where it should go, is routed as without a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streams.plans import ClassPlan

BURST_S = 0.25  # of the rate that may come at once: as long as a burst that the queues of any SLO here can bear
BURST_MIN = 8.0  # queries: a block of a slow class

Key = tuple[str, str]  # variant and pool


class Quota:
    """A token bucket. Units: `qps` queries a second."""

    __slots__ = ("_at_us", "_burst", "_tokens", "qps")

    def __init__(self, qps: float, *, now_us: int) -> None:
        self._at_us = now_us
        self.qps = qps
        self._burst = max(BURST_MIN, BURST_S * qps)
        self._tokens = self._burst

    def change(self, qps: float) -> None:
        """Another rate from now on; what was saved up stays, within the new bound."""
        self.qps = qps
        self._burst = max(BURST_MIN, BURST_S * qps)

    def open(self, now_us: int) -> bool:
        """Whether one more query is within the rate."""
        passed_us = now_us - self._at_us
        if passed_us > 0:
            self._at_us = now_us
            tokens = self._tokens + self.qps * passed_us / 1e6
            self._tokens = tokens if tokens < self._burst else self._burst  # noqa: FURB136 (hot path)
        return self._tokens >= 1.0

    def take(self) -> None:
        """Count one; only if `open`."""
        self._tokens -= 1.0


class Quotas:
    """By class, then by group; what a class has saved up outlives a new plan."""

    def __init__(self) -> None:
        self.epoch = 0
        self._classes: dict[str, dict[Key, Quota]] = {}

    def follow(self, plans: Iterable[ClassPlan], *, epoch: int, now_us: int) -> bool:
        """Take a plan; returns whether any class has other groups than before."""
        self.epoch = epoch
        before = self._classes
        self._classes = {}
        changed = False
        for plan in plans:
            old = before.get(plan.klass, {})
            mine: dict[Key, Quota] = {}
            for variant, pool, qps in plan.flows:
                quota = mine[variant, pool] = old.get((variant, pool)) or Quota(qps, now_us=now_us)
                quota.change(qps)
            self._classes[plan.klass] = mine
            changed = changed or mine.keys() != old.keys()
        return changed or self._classes.keys() != before.keys()

    def of(self, klass: str) -> Mapping[Key, Quota]:
        """The quotas of one class; none if the plan does not name it."""
        return self._classes.get(klass, {})
