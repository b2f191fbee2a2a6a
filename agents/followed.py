"""Which plan a router follows: the one of the highest epoch, for as long as it is repeated. Pure."""

from __future__ import annotations

from typing import NamedTuple

from streams.plans import ClassPlan, PlanRecord

LOOK_US = 50_000  # between two looks at the topic


class Shares(NamedTuple):
    """What a plan says to routers; epoch 0: there is none."""

    epoch: int
    classes: tuple[ClassPlan, ...]


class Followed:
    """The newest plan that was heard; `news` says once what changed, also when it is too old and counts no more."""

    def __init__(self, *, max_age_s: float) -> None:
        self._max_age_us = round(max_age_s * 1e6)
        self._looked_us = 0
        self._heard_us = 0
        self._now = Shares(0, ())
        self._told = self._now

    def due(self, *, now_us: int) -> bool:
        """Whether to look at the topic again."""
        if abs(now_us - self._looked_us) < LOOK_US:
            return False
        self._looked_us = now_us
        return True

    def heard(self, plan: PlanRecord, *, now_us: int) -> None:
        """A record of the topic, which may be old already; who ordered it in vain is not followed either."""
        if plan.epoch >= self._now.epoch:
            self._now = Shares(plan.epoch, plan.classes)
            self._heard_us = now_us

    def news(self, *, now_us: int) -> Shares | None:
        """What to follow from now on, if it is not what was said last."""
        if self._now.epoch and now_us - self._heard_us > self._max_age_us:
            self._now = Shares(0, ())
        if self._now == self._told:
            return None
        self._told = self._now
        return self._now
