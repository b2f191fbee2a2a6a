"""A group: the live lanes of one variant on one pool, so one latency curve, and what is cached about them.

A policy (blocks.py, spread.py) picks a lane of a group; the group keeps the ring, the rate that it is sent, and
the sizes that follow from it, recomputed every 100 ms at most.
"""

from __future__ import annotations

import enum
import math

from agents.reckoning import Lane
from registry.catalog import Offer
from registry.targets import SECOND_US, batch_need, batch_target
from streams.clock import NEVER

PLAN_US = 100_000
CLOSED_US = 2_000  # less than telemetry takes to come
RATE_US = 300_000  # time constant of the rate's average
FILL = 0.9  # of the executor's target: full targets fall off a cliff (.98 -> .41 of the shared queue's goodput)
UTILISATION = 0.95  # at which the block must keep up
UNEVEN = 1.10  # drifts further apart than this: the next free lane counts, not the next in the ring
SPARING = 0.8  # of the other lanes, at which a slow one is spared: queues of fuller ones grow without end
SLACK_EVEN, SLACK_UNEVEN = 2.5, 0.5  # of l(1): 15 ms and 3 ms on the studied curve, l(1) = 6.2 ms
SPARES_MAX = 8  # spare lanes looked at for one query
SATURATED_QPS = 1e12  # every lane busy
BUDGET_MAX_US = 3_600 * SECOND_US


class Why(enum.StrEnum):
    """Why a lane was chosen; a metric's label."""

    JOINED = "joined"  # the open block
    OPENED = "opened"  # the first of a block
    SPREAD = "spread"  # round robin or random
    LEAST = "least"  # late by prediction, but not surely: the executor's window drop decides
    DEGRADED = "degraded"
    LATE = "late"
    OFFLINE = "offline"
    REPEATED = "repeated"  # where the same query id went before
    TRIED = "tried"  # to see whether a lane that was slow still is


class Group:
    """One ring of lanes and its open block.

    Blocks go round the `ring`. Lanes that something interferes with are `spare`: they take single queries that no lane
    of the ring would have done in time. `doubted` are those of all `lanes` that want to be tried.

    `cap` is the size of a block, from the rate; `full` the batch that a lane takes from a long queue, whatever the
    rate: executors grow a batch for as long as its head allows, so that a burst after a lull is no overload.

    After a `pick`: `why` and `finish_us` of the picked lane. With none picked the group closes: until `reopen_us` it
    need not be looked at for what is due before `closed_us`, and `least` is the lane that would finish first, at
    `least_us`. Between two telemetry records predictions only get later, so a closed group misses little.
    """

    def __init__(self, offer: Offer, *, now_us: int) -> None:
        self.offer = offer
        self.lanes: list[Lane] = []
        self.ring: list[Lane] = []
        self.spare: list[Lane] = []
        self.doubted: list[Lane] = []
        self.latency_us = offer.latency.p99_us
        self.quickest_us = self.latency_us[1]  # l(1) on the fastest lane
        self.shared = False  # with other routers: blocks would collide
        self.at = -1
        self.block_lane: Lane | None = None
        self.block_count = 0
        self.block_due_us = 0
        self.least: Lane | None = None
        self.least_us = 0
        self.closed_us = 0
        self.reopen_us = 0
        self.why = Why.OPENED
        self.finish_us = 0
        self.rate_qps = 0.0
        self.count = 0
        self.urgency = 0.0  # sum of 1 / time left, over `count`
        self.hurry = 0.0  # its average: the harmonic mean heeds tight deadlines and ignores absent ones
        self.cap = 1
        self.full = offer.latency.batch_max
        self.gather_us = 0
        self.planned_us = now_us
        self.plan_at_us = 0
        self._drift, self._parallel, self._slack_us = 1.0, 1, 0.0
        self._budget_us: float = BUDGET_MAX_US

    def learn(self, offer: Offer) -> None:
        """Take a newer offer of the same variant and pool; the rate and the ring stay."""
        self.offer = offer
        self.latency_us = offer.latency.p99_us
        self.full, self.cap = min(self.full, offer.latency.batch_max), min(self.cap, offer.latency.batch_max)
        self.block_lane = None
        self.plan_at_us = self.reopen_us = 0

    def seat(self, lanes: list[Lane], *, shared: bool) -> bool:
        """Take the lanes that are live now, in ring order, and measure how alike they are.

        Returns: whether a demand has to look at this group anew.
        """
        before = (self.lanes, self.ring, self.doubted, self.quickest_us)
        self.lanes, self.shared = lanes, shared
        self.doubted = [lane for lane in lanes if lane.doubt]
        self.ring, self.spare = self._apart(lanes)
        ring = self.ring
        if ring != before[1]:
            self.reopen_us = 0
        if self.block_lane not in ring:
            self.block_lane = None
        if not lanes:
            return bool(before[0])
        drifts = [lane.drift for lane in ring]
        self._drift = sum(drifts) / len(drifts)
        self._parallel = max(1, round(sum(1 / lane.pace for lane in ring)))
        uneven = max(drifts) > UNEVEN * min(drifts)
        self.quickest_us = min(lane.latency_us[1] for lane in lanes)
        self.latency_us = max(ring, key=lambda lane: lane.drift).latency_us
        self._slack_us = (SLACK_UNEVEN if uneven else SLACK_EVEN) * self.latency_us[1]
        for lane in lanes:
            lane.aim(self.full)
        return before != (lanes, ring, self.doubted, self.quickest_us)

    @property
    def sound(self) -> bool:
        """Whether a lane of the ring is sure of its speed."""
        return len(self.doubted) < len(self.lanes) and any(not lane.doubt for lane in self.ring)

    def _apart(self, lanes: list[Lane]) -> tuple[list[Lane], list[Lane]]:
        """Part the lanes that something interferes with from the others, of which there is always one.

        It does where half of the batches take longer than all but a hundredth do on the best lane; and no more once
        the lane is nearer to the best one than to that. Such a lane is spared if the others can carry the rate, or if
        it can carry none: who just misses a batch of one there is late.
        """
        if not lanes:
            return [], []
        curve, size = self.offer.latency, self.full
        enter = max(UNEVEN, curve.p99_us[size] / max(1, curve.p50_us[size]))
        leave = math.sqrt(enter)
        best = min(lane.drift for lane in lanes)
        slow = {lane for lane in lanes if lane.drift > best * (leave if lane.apart else enter)}
        if not slow:
            for lane in lanes:
                lane.apart = False
            return lanes, []
        others_qps = sum(size * SECOND_US / (lane.latency_us[size] * lane.pace) for lane in lanes if lane not in slow)
        carried = self.rate_qps <= (UTILISATION if self.spare else SPARING) * others_qps
        for lane in lanes:
            lane.apart = lane in slow and (carried or 2 * lane.latency_us[1] > self._budget_us)
        return [lane for lane in lanes if not lane.apart], [lane for lane in lanes if lane.apart]

    def spared(self, best: Lane | None, best_us: int, now_us: int, silence_us: int) -> tuple[Lane | None, int]:
        """The lane that would finish first, of the spare ones and the best of the others, and when."""
        for lane in self.spare[:SPARES_MAX]:
            executor = lane.executor
            if executor.ready and now_us - executor.heard_us <= silence_us:
                finish_us = lane.finish_us(now_us)
                if finish_us < best_us:
                    best, best_us = lane, finish_us
        return best, best_us

    def close(self, least: Lane | None, least_us: int, now_us: int) -> None:
        """Note that the group is full, so that a refusal does not cost a scan of each group for each query."""
        self.least, self.least_us = least, least_us
        self.closed_us, self.reopen_us = least_us + CLOSED_US, now_us + CLOSED_US

    def took(self, due_us: int, now_us: int) -> None:
        """Count one query sent to this group, and how long it had."""
        self.count += 1
        if due_us - now_us >= self.latency_us[1]:  # one that is late anyway says nothing about the others' SLO
            self.urgency += 1 / (due_us - now_us)

    def plan(self, now_us: int) -> None:
        """Recompute rate, target and block size. Lanes that run d times slower see d times the rate and 1/d the SLO."""
        elapsed_us = max(1, now_us - self.planned_us)
        weight = 1 - math.exp(-elapsed_us / RATE_US)
        self.rate_qps += weight * (self.count * SECOND_US / elapsed_us - self.rate_qps)
        if self.count:
            hurry = self.urgency / self.count
            self.hurry += (weight if self.hurry else 1.0) * (hurry - self.hurry)
        self.count, self.urgency = 0, 0.0
        self.planned_us, self.plan_at_us = now_us, now_us + PLAN_US

        drift, curve = self._drift, self.offer.latency
        self._budget_us = budget_us = min(1 / self.hurry, BUDGET_MAX_US) if self.hurry else BUDGET_MAX_US
        slo_us, rate_qps, lanes = int(budget_us / drift), self.rate_qps * drift, self._parallel
        target = batch_target(curve, slo_us=slo_us, rate_qps=rate_qps, lanes=lanes, reserve_us=0)
        need = batch_need(curve, rate_qps=rate_qps, lanes=lanes, utilisation=UTILISATION)
        self.cap = max(1, min(int(FILL * target), need))
        gather_us = self.cap * SECOND_US / self.rate_qps if self.rate_qps else NEVER
        self.gather_us = int(min(gather_us, BUDGET_MAX_US) + self._slack_us)
        full = batch_target(curve, slo_us=slo_us, rate_qps=SATURATED_QPS, lanes=lanes, reserve_us=0)
        if full != self.full:
            self.full = full
            for lane in self.lanes:
                lane.aim(full)
