"""One executor by dead reckoning: what it must be doing now, from its last telemetry and what was sent since.

Raw queue lengths are worse than no knowledge once they are 50 ms old, so the drain is played forward: when the
executor must have become free, it took the next batch at its target size. Each telemetry record replaces the guess.

Where every instance has cores of its own, as a planner gives them out, each variant is a server by itself: with n
instances its next batch starts l(b) / n after the last one. Else the executor's cores are shared by its resident
variants: a batch of l(b) on a share s of the cores keeps the next batch of anything from starting for s l(b). Queries
without a deadline (patient ones) run when no other waits; payloads that must be decoded wait for that first. Nothing
else is modelled.

l(b) is the profile's, times what the executor measured of late (`drift`, and by batch size `knots`).
"""

from __future__ import annotations

from collections import deque

from registry.catalog import Offer
from registry.correction import corrected
from streams.records import LaneReport, Telemetry

DRIFT_MIN, DRIFT_MAX = 0.8, 20.0  # a lane that says it is faster than that, or slower, is not believed further
DRIFT_STEP = 0.02  # smaller changes are noise, not worth a new table
MOVED = 1.05  # by which a drift must have changed for its group to compare its lanes anew
RUN_US = 20_000  # dispatches this close together share one entry of `unread`
LOST_US = 10_000_000  # unread after this long: someone else has them, whatever the executor says
LOST_IDLE_US = 500_000  # the same, for an executor that reports nothing to do


class Lane:
    """One resident variant of one executor: its curve as it runs there, and its virtual queues.

    `queued` have a deadline, `patient` have none. A batch takes `share` of the cores, and full ones leave the queue
    each `pace` times their latency; `alone`: on cores of its own, of which one is free at `free_us`. While there is
    `doubt` of its drift (streams/records.py) the executor wants to be tried, once, and not before `try_us`. `apart`:
    its group uses it only where no other lane is in time.

    Units: `latency_us[b]` is the predicted p99 of a batch of b, `work_us` how long the queue keeps the executor busy,
    `patient_us` how long the patient do; `decode_us` how long each query waits for the decoders, 0 if it need not.
    """

    __slots__ = ("alone", "apart", "decode_us", "doubt", "drift", "executor", "free_us", "head_us", "instances",
                 "knots", "latency_us", "offer", "pace", "patient", "patient_us", "queued", "reported", "share",
                 "target", "told", "try_us", "work_us")  # fmt: skip

    def __init__(self, executor: Executor, offer: Offer) -> None:
        self.executor = executor
        self.queued = self.patient = 0
        self.head_us = 0
        self.work_us = self.patient_us = 0
        self.decode_us = 0
        self.drift = self.reported = self.told = 1.0
        self.knots: tuple[tuple[int, float], ...] = ()
        self.apart = False
        self.doubt = 0
        self.try_us = 0
        self.instances = 0
        self.alone = False
        self.free_us = 0
        self.learn(offer)

    def learn(self, offer: Offer) -> None:
        """Take the variant's curve, or a newer one."""
        self.offer = offer
        self.share = min(1.0, offer.width / self.executor.cores)
        self.pace = max(self.share, 1 / self.instances) if self.instances else self.share
        self.target = offer.latency.batch_max
        self.latency_us = corrected(offer.latency.p99_us, self.drift, self.knots)
        self.count(self.queued)
        self.rest(self.patient)

    def hold(self, instances: int) -> bool:
        """Take how many instances there are, 0 for as many as the cores can run; returns whether that is news."""
        if instances == self.instances:
            return False
        self.instances = instances
        self.pace = max(self.share, 1 / instances) if instances else self.share
        return True

    def correct(self, report: LaneReport) -> bool:
        """Take what the executor measured.

        Returns: whether it has changed enough for the group to compare its lanes anew.
        """
        self.reported = report.drift
        drift = min(max(report.drift, DRIFT_MIN), DRIFT_MAX)
        if report.sizes != self.knots or abs(drift - self.drift) > DRIFT_STEP * self.drift:
            self.drift, self.knots = drift, report.sizes
            self.latency_us = corrected(self.offer.latency.p99_us, drift, self.knots)
            self.count(self.queued)
            self.rest(self.patient)
        if report.doubt == self.doubt and 1 / MOVED < self.drift / self.told < MOVED:
            return False
        self.doubt, self.told = report.doubt, self.drift
        return True

    def count(self, queued: int) -> None:
        """Set the virtual queue, and with it the work that waits on the executor."""
        work_us = self._work_us(queued)
        self.executor.work_us += work_us - self.work_us
        self.queued, self.work_us = queued, work_us
        if queued:
            self.executor.waiting.setdefault(self)
        else:
            self.executor.waiting.pop(self, None)

    def rest(self, patient: int) -> None:
        """Set how many wait without a deadline."""
        patient_us = self._work_us(patient)
        self.executor.patient_us += patient_us - self.patient_us
        self.patient, self.patient_us = patient, patient_us

    def aim(self, target: int) -> None:
        """The batch size at which this lane is believed to fire."""
        if target != self.target:
            self.target = target
            self.count(self.queued)
            self.rest(self.patient)

    def finish_us(self, now_us: int) -> int:
        """When one more query, sent now, would be done: the work ahead, then the batch that it would join."""
        executor = self.executor
        if self.alone:
            if self.free_us <= now_us and (self.queued or self.patient):
                self.play(now_us)
            start_us = self.free_us if self.free_us > now_us else now_us  # noqa: FURB136 (3x faster)
        else:
            if executor.busy_until_us <= now_us and (executor.work_us or executor.patient_us):
                executor.advance(now_us)
            start_us = executor.busy_until_us if executor.busy_until_us > now_us else now_us  # noqa: FURB136
            start_us += executor.work_us - self.work_us
            if self.free_us > start_us:
                start_us = self.free_us
        if self.decode_us:
            start_us = max(start_us, max(executor.decoded_us, now_us) + self.decode_us)
        latency_us, target, queued = self.latency_us, self.target, self.queued
        if queued < target:
            return start_us + latency_us[queued + 1]
        # Behind a full batch it joins one that will be full too by its start: who counted on less came late.
        return start_us + int(queued // target * latency_us[target] * self.pace) + latency_us[target]

    def play(self, now_us: int) -> None:
        """Play the drain forward on instances with cores of their own; what is patient runs when nothing else waits."""
        while self.free_us <= now_us and self.queued:
            batch = min(self.queued, self.target)
            start_us = max(self.free_us, self.head_us)
            self.free_us = start_us + max(1, int(self.latency_us[batch] * self.pace))
            self.head_us = start_us
            self.count(self.queued - batch)
        while self.free_us <= now_us and self.patient:
            batch = min(self.patient, self.target)
            self.free_us += max(1, int(self.latency_us[batch] * self.pace))
            self.rest(self.patient - batch)

    def sent(self, now_us: int, patient: bool = False) -> int:
        """Note one query sent to this lane, `patient` without a deadline; returns its number on the executor."""
        executor = self.executor
        executor.seq = seq = executor.seq + 1
        last = executor.last
        if last is not None and last.lane is self and last.patient is patient and now_us - last.at_us < RUN_US:
            last.seq = seq
            last.count += 1
        else:
            executor.last = run = Run(self, seq, now_us, patient)
            executor.unread.append(run)
        if self.decode_us:
            executor.decoded_us = max(executor.decoded_us, now_us) + self.decode_us
        if patient:
            if self.alone:
                self.play(now_us)
                self.free_us = max(self.free_us, now_us)
            elif executor.busy_until_us < now_us:
                executor.advance(now_us)
                executor.busy_until_us = max(executor.busy_until_us, now_us)
            self.rest(self.patient + 1)
            return seq
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

    def _work_us(self, queued: int) -> int:
        full, rest = divmod(queued, self.target)
        return int((full * self.latency_us[self.target] + self.latency_us[rest]) * self.share)


class Run:
    """Consecutive dispatches to one lane, up to `seq`, not yet known to be read; all with a deadline, or none."""

    __slots__ = ("at_us", "count", "lane", "patient", "seq")

    def __init__(self, lane: Lane, seq: int, at_us: int, patient: bool) -> None:
        self.lane, self.seq, self.at_us, self.patient, self.count = lane, seq, at_us, patient, 1


class Executor:
    """What the router believes of one executor."""

    __slots__ = ("busy_until_us", "cores", "decoded_us", "heard_us", "lanes", "last", "name", "patient_us", "pool",
                 "ready", "roomy", "seq", "slot", "unread", "waiting", "work_us")  # fmt: skip

    def __init__(self, telemetry: Telemetry, *, now_us: int) -> None:
        self.name = telemetry.executor
        self.pool = telemetry.pool
        self.cores = max(1, telemetry.cores)
        self.ready = False
        self.roomy = False  # every instance has cores of its own
        self.slot = -1
        self.heard_us = now_us
        self.busy_until_us = now_us
        self.work_us = 0  # of all virtual queues together
        self.patient_us = 0  # of all that is patient
        self.decoded_us = now_us  # when the decoders will be done with what they have
        self.seq = now_us  # from the clock, so that a restarted router never repeats a number
        self.lanes: dict[str, Lane] = {}
        self.waiting: dict[Lane, None] = {}  # lanes with a queue, longest waiting first
        self.unread: deque[Run] = deque()
        self.last: Run | None = None

    def advance(self, now_us: int) -> None:
        """Play the drain forward: whenever free, take the next batch. Each turn consumes what was once sent."""
        if self.roomy:
            for lane in self.lanes.values():
                lane.play(now_us)
            return
        while self.busy_until_us <= now_us and self.waiting:
            lane = next(iter(self.waiting))
            batch = min(lane.queued, lane.target)
            start_us = max(self.busy_until_us, lane.head_us)
            if self.patient_us and self.busy_until_us < start_us:
                self._rest(start_us)
                continue
            self.busy_until_us = start_us + max(1, int(lane.latency_us[batch] * lane.share))
            lane.head_us = start_us
            del self.waiting[lane]  # and back at the end, if a queue is left
            lane.count(lane.queued - batch)
        if self.patient_us and self.busy_until_us <= now_us:
            self._rest(now_us)

    def _rest(self, until_us: int) -> None:
        """Run what is patient while nothing else waits; a batch that has begun by then ends after it."""
        for lane in self.lanes.values():
            while lane.patient and self.busy_until_us <= until_us:
                batch = min(lane.patient, lane.target)
                self.busy_until_us += max(1, int(lane.latency_us[batch] * lane.share))
                lane.rest(lane.patient - batch)

    def reconcile(
        self,
        telemetry: Telemetry,
        offers: dict[tuple[str, str], Offer],
        *,
        router: str,
        live_correction: bool,
        now_us: int,
    ) -> list[str]:
        """Replace the guess by what the executor says, plus what it has not read yet.

        A lane whose variant has no offer (not registered or not profiled yet) is left out.
        Returns: the variants whose speed here has changed, or may have.
        """
        self.heard_us = now_us
        self.busy_until_us = now_us + max(0, telemetry.busy_us)
        if telemetry.cores != self.cores:
            self.cores = max(1, telemetry.cores)
            for known in self.lanes.values():
                known.learn(known.offer)
        reports = {report.variant: report for report in telemetry.lanes if (report.variant, self.pool) in offers}
        reshaped = reports.keys() != self.lanes.keys()
        for variant in self.lanes.keys() - reports.keys():
            self.forget(variant)
        timed, patient = self._unread(telemetry, router=router, now_us=now_us)
        moved: list[str] = []
        decoding_us = 0
        for variant, report in reports.items():
            lane = self.lanes.get(variant)
            if lane is None:
                lane = self.lanes[variant] = Lane(self, offers[variant, self.pool])
            if (report.drift != lane.reported or report.doubt != lane.doubt or report.sizes != lane.knots) and (
                live_correction and lane.correct(report)
            ):
                moved.append(variant)
            queued, resting = max(0, report.queued), 0
            if report.patient:
                resting = min(max(0, report.patient), queued)
                queued -= resting
            sent = timed.get(lane, 0) if timed else 0
            if report.decode_us or lane.decode_us:
                lane.decode_us = max(0, report.decode_us)
                decoding_us += lane.decode_us * (min(max(0, report.undecoded), queued) + sent)
            queued += sent
            if patient:
                resting += patient.get(lane, 0)
            if not lane.queued:
                lane.head_us = now_us
            lane.free_us = now_us + max(0, report.free_us)
            if lane.hold(max(0, report.lanes)):
                reshaped = True
                moved.append(variant)
            if queued != lane.queued:
                lane.count(queued)
            if resting != lane.patient:
                lane.rest(resting)
        self.decoded_us = now_us + decoding_us
        if reshaped:
            self._share_out()
        return moved

    def _share_out(self) -> None:
        """Whether all instances can run at once: then no variant waits for another one's cores."""
        lanes = self.lanes.values()
        taken = sum(lane.offer.width * lane.instances for lane in lanes)
        self.roomy = all(lane.instances for lane in lanes) and taken <= self.cores
        for lane in lanes:
            lane.alone = self.roomy

    def forget(self, variant: str) -> None:
        """Take a lane away, and what waits for it."""
        lane = self.lanes.pop(variant)
        lane.count(0)
        lane.rest(0)

    def _unread(self, telemetry: Telemetry, *, router: str, now_us: int) -> tuple[dict[Lane, int], dict[Lane, int]]:
        """What this router sent and the executor has not read, per lane: with a deadline, and without.

        Forgets what it read, or never will.
        """
        received = telemetry.received.get(router, 0)
        idle = telemetry.busy_us <= 0 and not any(report.queued or report.running for report in telemetry.lanes)
        lost_us = now_us - (LOST_IDLE_US if idle else LOST_US)
        runs = self.unread
        while runs and (runs[0].seq <= received or runs[0].at_us < lost_us):
            runs.popleft()
        if not runs:
            self.last = None
        timed: dict[Lane, int] = {}
        patient: dict[Lane, int] = {}
        for index, run in enumerate(runs):
            count = min(run.count, run.seq - received) if index == 0 else run.count
            into = patient if run.patient else timed
            into[run.lane] = into.get(run.lane, 0) + count
        return timed, patient
