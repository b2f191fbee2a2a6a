"""How queries are spread over the lanes of a group: the interface, and the two plain policies.

Round robin is what routers that share executors use, since blocks of several collide; random is the baseline.
Neither looks at load to choose: one lane is taken, and whether it is in time decides if this group can serve.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from agents.fleet import Fleet
from agents.groups import Group, Why
from agents.reckoning import Lane

SKIPS_MAX = 32  # silent lanes passed over in one pick; the next refresh takes them out of the ring
DRAWS = 1_024  # random numbers drawn at once: a single draw costs as much as the whole pick


class Spread(Protocol):
    """Picks the lane of a group that one query goes to."""

    def pick(self, group: Group, due_us: int, now_us: int, whole: bool, /) -> Lane | None:
        """The lane for one query, by prediction done at `due_us` or before; None if there is none.

        `whole`: only if a full block would also be done by then (the group is not the fastest that can serve).
        Positional, as everything on the path of each query.
        """


class RoundRobin:
    """The next live lane in the ring."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def pick(self, group: Group, due_us: int, now_us: int, whole: bool, /) -> Lane | None:
        if now_us >= group.plan_at_us:
            group.plan(now_us)
        if whole and now_us + group.latency_us[group.cap] > due_us:
            return None
        lanes, silence_us = group.ring, self._fleet.silence_us
        for _ in range(min(len(lanes), SKIPS_MAX)):
            at = group.at = self.step(group.at, len(lanes))
            executor = lanes[at].executor
            if executor.ready and now_us - executor.heard_us <= silence_us:
                return _if_in_time(group, lanes[at], due_us, now_us, silence_us)
        return None

    def step(self, at: int, lanes: int, /) -> int:
        return at + 1 if at + 1 < lanes else 0


class Random(RoundRobin):
    """Any live lane."""

    def __init__(self, fleet: Fleet, *, rng: np.random.Generator) -> None:
        super().__init__(fleet)
        self._rng = rng
        self._draws: list[float] = []

    def step(self, _at: int, lanes: int, /) -> int:
        if not self._draws:
            self._draws = self._rng.random(DRAWS).tolist()
        return int(self._draws.pop() * lanes)


def _if_in_time(group: Group, lane: Lane, due_us: int, now_us: int, silence_us: int) -> Lane | None:
    least: Lane | None = lane
    finish_us = lane.finish_us(now_us)
    if finish_us > due_us and group.spare:
        least, finish_us = group.spared(lane, finish_us, now_us, silence_us)
    if finish_us <= due_us:
        group.why, group.finish_us = Why.SPREAD, finish_us
        return least
    group.close(least, finish_us, now_us)
    return None
