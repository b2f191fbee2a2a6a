"""Trials: a query goes to a lane that is routed around for being slow, to see whether it still is.

Who is sent nothing measures nothing, and would be slow for ever. So the executor says when its measurements have grown
old (executors/live.py) and then takes a query by its profile; the router lets it have one at a time, and no more than
one in a hundred, which is what a 99th percentile allows to be late. A query that would be refused may always try. A
variant that nobody would prefer to what runs well is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from agents.groups import Group
from agents.reckoning import Lane

TRIAL_EVERY = 100
AGAIN_US = 100_000  # beside the batch: until telemetry must have told
LOOKS_MAX = 8  # lanes looked at for one query


def trial(groups: Iterable[Group], due_us: int, now_us: int, *, silence_us: int) -> Lane | None:
    """The lane that this query is to try: idle, not tried a moment ago, and in time if it is as quick as it should be.

    Of many lanes each query looks at the next ones.
    """
    looks = LOOKS_MAX
    for group in groups:
        for _ in range(min(looks, len(group.doubted))):
            looks -= 1
            lane = group.doubted.pop(0)
            group.doubted.append(lane)
            executor = lane.executor
            if not lane.apart and now_us + lane.latency_us[1] <= due_us:
                continue  # it is used as it is
            if lane.alone:
                idle = lane.free_us <= now_us and not lane.queued and not lane.patient
            else:
                idle = executor.busy_until_us <= now_us and not executor.work_us and not executor.patient_us
            if not idle or now_us < lane.try_us or not executor.ready or now_us - executor.heard_us > silence_us:
                continue
            if now_us + lane.decode_us + lane.offer.latency.p99_us[1] <= due_us:
                lane.try_us = now_us + lane.latency_us[1] + AGAIN_US
                return lane
    return None
