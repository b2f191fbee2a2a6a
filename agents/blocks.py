"""Block routing: consecutive queries go to one executor until its next batch is nearly full, then to the next.

Spreading query by query gives each executor a smooth 1/N of the stream, so that a query waits up to a whole batch
time. Blocks stagger the executors as one shared queue would, and win back most of what splitting the queue costs.
A block is about 0.9 of the batch that the executor aims at, or the smallest that keeps up with the rate; it closes
early when one more query would make its tightest deadline late. It opens at the next lane of the ring that is
predicted free by the time that the block has gathered.
"""

from __future__ import annotations

from agents.fleet import Fleet
from agents.groups import Group, Why
from agents.reckoning import Lane
from streams.clock import NEVER

PROBES_MAX = 8  # live lanes looked at per block, at any fleet size, if one of them is in time
SCAN_MAX = 64  # lanes looked at before a group is given up: eight of fifty busy ones miss a free one too often
PATIENT_US = NEVER // 2  # what is due later has no deadline
SLACK_US = 5_000  # by which a prediction may be late before a block is left, or a query refused


class Blocks:
    """The policy for executors that no other router sends to.

    Source: the `route` pseudocode and constants of the routing study; O(1) a query, PROBES_MAX a block.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def pick(self, group: Group, due_us: int, now_us: int, whole: bool, /) -> Lane | None:
        if now_us >= group.plan_at_us:
            group.plan(now_us)
        if whole and now_us + group.latency_us[group.cap] > due_us:
            return None
        lane, count = group.block_lane, group.block_count
        if lane is not None and count < group.cap:
            executor = lane.executor
            if executor.ready and now_us - executor.heard_us <= self._fleet.silence_us:
                block_done_us = now_us + lane.latency_us[count + 1]
                if block_done_us <= due_us and block_done_us <= group.block_due_us:
                    finish_us = lane.finish_us(now_us)
                    if finish_us <= due_us or (
                        not whole and finish_us <= due_us + SLACK_US
                    ):  # else another may be in time
                        group.block_count = count + 1
                        if due_us < group.block_due_us:
                            group.block_due_us = due_us
                        group.why, group.finish_us = Why.JOINED, finish_us
                        return lane
        return self._open(group, due_us, now_us)

    def _open(self, group: Group, due_us: int, now_us: int) -> Lane | None:
        lanes, at, silence_us = group.ring, group.at, self._fleet.silence_us
        free_by_us = now_us + group.gather_us
        patient = due_us >= PATIENT_US
        best: Lane | None = None
        best_at, best_us, probes = at, int(NEVER), 0
        for _ in range(min(len(lanes), SCAN_MAX)):
            at = at + 1 if at + 1 < len(lanes) else 0
            lane = lanes[at]
            executor = lane.executor
            if not executor.ready or now_us - executor.heard_us > silence_us:
                continue
            finish_us = lane.finish_us(now_us)
            if patient:
                finish_us += executor.patient_us
            if finish_us < best_us:
                best, best_at, best_us = lane, at, finish_us
            if finish_us <= due_us and finish_us - lane.latency_us[1] <= free_by_us:
                best, best_at, best_us = lane, at, finish_us
                break
            probes += 1
            if probes >= PROBES_MAX and best_us <= due_us:
                break
        if best is None or best_us > due_us:
            group.at = at  # a ring longer than the probes is looked at further on next time
            if group.spare:
                best, best_us = group.spared(best, best_us, now_us, silence_us)
                if best_us <= due_us:
                    group.why, group.finish_us = Why.SPREAD, best_us
                    return best
            group.close(best, best_us, now_us)
            return None
        group.at, group.block_lane, group.block_count, group.block_due_us = best_at, best, 1, due_us
        group.why, group.finish_us = Why.OPENED, best_us
        return best
