"""What waits for one resident variant, and what is known of its speed and its rate here."""

from __future__ import annotations

from collections import deque

from executors.batching import size_efficient, size_target
from executors.job import Job
from executors.queue import EdfQueue
from executors.rate import Drift, Rate
from registry.latency import LatencyProfile

UTILISATION = 0.8  # of the lanes, at which a batch is large enough: queues of a fuller server grow without end
TARGET_US = 50_000  # a target is believed for this long
TARGETS_MAX = 64  # distinct SLOs with a target of their own; more are recomputed
DRIFT_STEP = 0.03  # smaller changes are not worth a new table


class Stock:
    """Jobs of one variant: `timed` by deadline, `patient` in order of arrival.

    Patient are those without a deadline, and those that may be late and are. `run_us[b]` is the p99 of a batch of b
    as it runs here: the profile's, times the drift measured.
    """

    def __init__(self, variant: str, latency: LatencyProfile, *, width: int, lanes: int) -> None:
        assert width >= 1
        assert lanes >= 1
        self.variant = variant
        self.width = width
        self.lanes = lanes
        self.timed = EdfQueue()
        self.patient: deque[Job] = deque()
        self.preparing = 0
        self.running = 0
        self.passed = 0  # batches of other work since patient work that waits here last ran
        self.rate = Rate()
        self.drift = 1.0
        self._measured = Drift()
        self.learn(latency)

    def learn(self, latency: LatencyProfile) -> None:
        """Take the variant's curve, or a newer one."""
        self.latency = latency
        self.size_max = latency.batch_max
        self.run_us = [round(us * self.drift) for us in latency.p99_us]
        self._efficient = size_efficient(latency)
        self._targets: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        """Jobs that could run now."""
        return len(self.timed) + len(self.patient)

    def push(self, job: Job) -> None:
        (self.patient.append if job.patient else self.timed.push)(job)

    def ran(self, size: int, took_us: int) -> None:
        """Note how long a batch took beside its profile."""
        self._measured.measured(took_us, profiled_us=max(1, self.latency.p50_us[size]))
        drift = self._measured.ratio
        if abs(drift - self.drift) > DRIFT_STEP * self.drift:
            self.drift = drift
            self.run_us = [round(us * drift) for us in self.latency.p99_us]

    def target(self, slo_us: int, *, reserve_us: int, now_us: int) -> int:
        """The batch size worth waiting for at the head's SLO and the present rate."""
        slo_us = max(1_000, slo_us - slo_us % max(1_000, slo_us >> 3))  # an eighth: heads of one class share a target
        known = self._targets.get(slo_us)
        if known is not None and now_us < known[1]:
            return known[0]
        if len(self._targets) >= TARGETS_MAX:
            self._targets.clear()
        size = size_target(
            self.latency, slo_us=slo_us, rate_qps=self.rate.per_s(now_us=now_us), lanes=self.lanes,
            reserve_us=reserve_us, utilisation=UTILISATION,
        )  # fmt: skip
        self._targets[slo_us] = (size, now_us + TARGET_US)
        return size

    def target_patient(self) -> int:
        """Without a deadline, the batch whose time per query is near the best."""
        return self._efficient

    def clear(self) -> list[Job]:
        """Remove and return everything that waits."""
        jobs = [*self.timed.take(len(self.timed)), *self.patient]
        self.patient.clear()
        return jobs
