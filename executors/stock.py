"""What waits for one resident variant, and what is known of its speed and its rate here."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable

from executors.batching import size_efficient, size_target
from executors.job import Job
from executors.live import Doubt, Live
from executors.queue import EdfQueue
from executors.rate import Rate
from registry.latency import LatencyProfile
from streams.clock import NEVER

UTILISATION = 0.8  # of the lanes, at which a batch is large enough: queues of a fuller server grow without end
RIDE = 1.1  # of a batch's time: by more than that nobody without a deadline may prolong it
TARGET_US = 50_000  # a target is believed for this long
TARGETS_MAX = 64  # distinct SLOs with a target of their own; more are recomputed
USED_TAU_US = 2_000_000  # longer than most batches, or a variant between two of them would seem to need nothing


class Stock:
    """Jobs of one variant: `timed` by deadline, `patient` in order of arrival.

    Patient are those without a deadline, and those that may be late and are. `run_us[b]` is the p99 of a batch of b
    as it runs here: the profile's, times what was measured (live.py); the profile's alone while that is in doubt, or
    nothing would ever run that could tell.
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
        self.preparing_patient = 0  # of them
        self.undecoded = 0  # of them: they wait for a decoder, or are in one
        self.decodes = False  # some had to be decoded here
        self.running = 0
        self.batches = 0  # of the running
        self.ended = 0  # batches since it was loaded
        self.in_time = 0  # jobs of them
        self.busy_us = 0  # that instances had a batch, together
        self.passed = 0  # batches of other work since patient work that waits here last ran
        self.rate = Rate()  # of jobs with a deadline
        self.used = Rate(USED_TAU_US)  # core-microseconds
        self.doubt = Doubt.NONE
        self._take(latency)

    def learn(self, latency: LatencyProfile) -> None:
        """Take a newer curve of the variant; what was measured holds beside the curve that it was measured beside."""
        if (latency.p50_us, latency.p99_us) != (self.latency.p50_us, self.latency.p99_us):
            self._take(latency)

    @property
    def drift(self) -> float:
        """How many times the profile's time a batch takes here."""
        return self.live.ratio

    def _take(self, latency: LatencyProfile) -> None:
        self.latency = latency
        self.size_max = latency.batch_max
        self.live = Live(latency)
        self.doubt = Doubt.NONE
        self._tabulate()

    def _tabulate(self) -> None:
        """Tabulate the curve as it runs here."""
        live = self.live
        self._tabulated = live.changes
        self._here = self.latency if self.doubt else self.latency.corrected(live.ratio, live.knots)
        self.run_us = self._here.p99_us
        self._efficient = size_efficient(self._here)
        self._targets: dict[int, tuple[int, int]] = {}

    @property
    def free(self) -> int:
        """Instances that run nothing."""
        return max(0, self.lanes - self.batches)

    def __len__(self) -> int:
        """Jobs that could run now."""
        return len(self.timed) + len(self.patient)

    def prepare(self, job: Job) -> None:
        """Note a job whose input is still to come."""
        self.preparing += 1
        self.preparing_patient += job.patient
        self.undecoded += job.heavy
        self.decodes = self.decodes or job.heavy

    def prepared(self, job: Job) -> None:
        """Note that it came, or that it will not."""
        self.preparing -= 1
        self.preparing_patient -= job.patient
        self.undecoded -= job.heavy

    def push(self, job: Job) -> None:
        (self.patient.append if job.deadline_us >= NEVER else self.timed.push)(job)

    def end(self, size: int, *, busy_us: int) -> None:
        """Take a batch off its instance, however it went."""
        self.running -= size
        self.batches -= 1
        self.ended += 1
        self.busy_us += max(0, busy_us)  # the wall clock may have been set back

    def ran(self, size: int, took_us: int, *, now_us: int) -> None:
        """Note how long a batch took beside its profile; one larger than the profile's cap now is only counted."""
        self.used.add(took_us * self.width, now_us=now_us)
        self.live.measured(size, took_us, now_us=now_us)
        self.age(now_us=now_us)

    def age(self, *, now_us: int) -> None:
        """Let what was measured grow old, and use what came of it."""
        doubt = self.live.doubt(now_us=now_us)
        if doubt is not self.doubt or self._tabulated != self.live.changes:
            self.doubt = doubt
            self._tabulate()

    def target(self, slo_us: int, *, reserve_us: int, share: Callable[[], float], now_us: int) -> int:
        """The batch size worth waiting for at the head's SLO and the present rate, on a `share` of the lanes.

        It is by the speed measured here: a machine that has become slower needs larger batches for the same rate.
        """
        slo_us = max(1_000, slo_us - slo_us % max(1_000, slo_us >> 3))  # an eighth: heads of one class share a target
        known = self._targets.get(slo_us)
        if known is not None and now_us < known[1]:
            return known[0]
        if len(self._targets) >= TARGETS_MAX:
            self._targets.clear()
        lanes = max(1, round(self.lanes * (mine := share())))
        size = size_target(
            self._here, slo_us=slo_us, rate_qps=self.rate.per_s(now_us=now_us), lanes=lanes, reserve_us=reserve_us,
            utilisation=min(1.0, UTILISATION * mine * self.lanes / lanes),
        )  # fmt: skip
        self._targets[slo_us] = (size, now_us + TARGET_US)
        return size

    def target_patient(self, *, room_us: int = NEVER) -> int:
        """Without a deadline, the batch whose time per query is near the best, if it takes no more than `room_us`."""
        size = self._efficient
        if self.run_us[size] > room_us:
            size = max(1, bisect_right(self.run_us, room_us, 1, size) - 1)
        return size

    def bearable(self, timed: int) -> int:
        """How large a batch of so many timed jobs may become by others: those pay for what comes after it."""
        return max(timed, bisect_right(self.run_us, RIDE * self.run_us[timed], 1) - 1)

    def clear(self) -> list[Job]:
        """Remove and return everything that waits."""
        jobs = [*self.timed.take(len(self.timed)), *self.patient]
        self.patient.clear()
        return jobs
