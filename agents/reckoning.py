"""One executor by dead reckoning: what it must be doing now, from its last telemetry and what was sent since.

Raw queue lengths are worse than no knowledge once they are 50 ms old, so the drain is played forward: when the
executor must have become free, it took the next batch at its target size. Each telemetry record replaces the
guess. The executor's cores are shared by its resident variants: a batch of l(b) on a share s of the cores keeps
the next batch from starting for s l(b), and nothing else is modelled.
"""

from __future__ import annotations

from collections import deque

from registry.catalog import Offer
from streams.records import LaneReport, Telemetry

DRIFT_MIN, DRIFT_MAX = 0.8, 20.0  # a lane that says it is faster than that, or slower, is not believed further
DRIFT_STEP = 0.02  # smaller changes are noise, not worth a new table
RUN_US = 20_000  # dispatches this close together share one entry of `unread`
LOST_US = 10_000_000  # unread after this long: someone else has them, whatever the executor says
LOST_IDLE_US = 500_000  # the same, for an executor that reports nothing to do


class Lane:
    """One resident variant of one executor: its curve as it runs there, and its virtual queue.

    Units: `latency_us[b]` is the predicted p99 of a batch of b, `work_us` how long the queue keeps the executor busy.
    """

    __slots__ = ("drift", "executor", "head_us", "latency_us", "offer", "queued", "share", "target", "work_us")

    def __init__(self, executor: Executor, offer: Offer) -> None:
        self.executor = executor
        self.queued = 0
        self.head_us = 0
        self.work_us = 0
        self.drift = 1.0
        self.learn(offer)

    def learn(self, offer: Offer) -> None:
        """Take the variant's curve, or a newer one."""
        self.offer = offer
        self.share = min(1.0, offer.width / self.executor.cores)
        self.target = offer.latency.batch_max
        self.latency_us = [round(us * self.drift) for us in offer.latency.p99_us]
        self.count(self.queued)

    def count(self, queued: int) -> None:
        """Set the virtual queue, and with it the work that waits on the executor."""
        full, rest = divmod(queued, self.target)
        work_us = int((full * self.latency_us[self.target] + self.latency_us[rest]) * self.share)
        self.executor.work_us += work_us - self.work_us
        self.queued, self.work_us = queued, work_us
        if queued:
            self.executor.waiting.setdefault(self)
        else:
            self.executor.waiting.pop(self, None)

    def aim(self, target: int) -> None:
        """The batch size at which this lane is believed to fire."""
        if target != self.target:
            self.target = target
            self.count(self.queued)

    def finish_us(self, now_us: int) -> int:
        """When one more query, sent now, would be done: the work ahead, then the batch that it would join."""
        executor = self.executor
        if executor.busy_until_us <= now_us and executor.work_us:
            executor.advance(now_us)
        start_us = executor.busy_until_us if executor.busy_until_us > now_us else now_us  # noqa: FURB136 (3x faster)
        start_us += executor.work_us - self.work_us
        latency_us, target, queued = self.latency_us, self.target, self.queued
        if queued < target:
            return start_us + latency_us[queued + 1]
        full, rest = divmod(queued, target)
        return start_us + int(full * latency_us[target] * self.share) + latency_us[rest + 1]

    def sent(self, now_us: int) -> int:
        """Note one query sent to this lane; returns its sequence number on the executor."""
        executor = self.executor
        executor.seq = seq = executor.seq + 1
        last = executor.last
        if last is not None and last.lane is self and now_us - last.at_us < RUN_US:
            last.seq = seq
            last.count += 1
        else:
            executor.last = run = Run(self, seq, now_us)
            executor.unread.append(run)
        queued = self.queued + 1
        if 1 < queued <= self.target:  # what `count` would do, for most queries
            work_us = int(self.latency_us[queued] * self.share)
            executor.work_us += work_us - self.work_us
            self.queued, self.work_us = queued, work_us
        else:
            if queued == 1:
                self.head_us = now_us
            self.count(queued)
        return seq


class Run:
    """Consecutive dispatches to one lane, up to `seq`, not yet known to be read."""

    __slots__ = ("at_us", "count", "lane", "seq")

    def __init__(self, lane: Lane, seq: int, at_us: int) -> None:
        self.lane, self.seq, self.at_us, self.count = lane, seq, at_us, 1


class Executor:
    """What the router believes of one executor."""

    __slots__ = ("busy_until_us", "cores", "heard_us", "lanes", "last", "name", "pool", "ready", "seq", "slot",
                 "unread", "waiting", "work_us")  # fmt: skip

    def __init__(self, telemetry: Telemetry, *, now_us: int) -> None:
        self.name = telemetry.executor
        self.pool = telemetry.pool
        self.cores = max(1, telemetry.cores)
        self.ready = False
        self.slot = -1
        self.heard_us = now_us
        self.busy_until_us = now_us
        self.work_us = 0  # of all virtual queues together
        self.seq = now_us  # from the clock, so that a restarted router never repeats a number
        self.lanes: dict[str, Lane] = {}
        self.waiting: dict[Lane, None] = {}  # lanes with a queue, longest waiting first
        self.unread: deque[Run] = deque()
        self.last: Run | None = None

    def advance(self, now_us: int) -> None:
        """Play the drain forward: whenever free, take the next batch. Each turn consumes what was once sent."""
        while self.busy_until_us <= now_us and self.waiting:
            lane = next(iter(self.waiting))
            batch = min(lane.queued, lane.target)
            start_us = max(self.busy_until_us, lane.head_us)
            self.busy_until_us = start_us + max(1, int(lane.latency_us[batch] * lane.share))
            lane.head_us = start_us
            del self.waiting[lane]  # and back at the end, if a queue is left
            lane.count(lane.queued - batch)

    def reconcile(
        self, telemetry: Telemetry, offers: dict[tuple[str, str], Offer], *, router: str, now_us: int
    ) -> None:
        """Replace the guess by what the executor says, plus what it has not read yet.

        A lane whose variant has no offer (not registered or not profiled yet) is left out.
        """
        self.heard_us = now_us
        self.busy_until_us = now_us + max(0, telemetry.busy_us)
        if telemetry.cores != self.cores:
            self.cores = max(1, telemetry.cores)
            for known in self.lanes.values():
                known.learn(known.offer)
        reports = {report.variant: report for report in telemetry.lanes if (report.variant, self.pool) in offers}
        for variant in self.lanes.keys() - reports.keys():
            self.lanes.pop(variant).count(0)
        unread = self._unread(telemetry, router=router, now_us=now_us)
        for variant, report in reports.items():
            lane = self.lanes.get(variant)
            if lane is None:
                lane = self.lanes[variant] = Lane(self, offers[variant, self.pool])
            _drift(lane, report)
            queued = max(0, report.queued) + unread.get(lane, 0)
            if not lane.queued:
                lane.head_us = now_us
            if queued != lane.queued:
                lane.count(queued)

    def _unread(self, telemetry: Telemetry, *, router: str, now_us: int) -> dict[Lane, int]:
        """What this router sent and the executor has not read, per lane; forgets what it read, or never will."""
        received = telemetry.received.get(router, 0)
        idle = telemetry.busy_us <= 0 and not any(report.queued or report.running for report in telemetry.lanes)
        lost_us = now_us - (LOST_IDLE_US if idle else LOST_US)
        runs = self.unread
        while runs and (runs[0].seq <= received or runs[0].at_us < lost_us):
            runs.popleft()
        if not runs:
            self.last = None
        unread: dict[Lane, int] = {}
        for index, run in enumerate(runs):
            count = min(run.count, run.seq - received) if index == 0 else run.count
            unread[run.lane] = unread.get(run.lane, 0) + count
        return unread


def _drift(lane: Lane, report: LaneReport) -> None:
    drift = min(max(report.drift, DRIFT_MIN), DRIFT_MAX)
    if abs(drift - lane.drift) > DRIFT_STEP * lane.drift:
        lane.drift = drift
        lane.latency_us = [round(us * drift) for us in lane.offer.latency.p99_us]
        lane.count(lane.queued)
