"""What lanes deliver, as executors count it, turned into eta: which share of b / l99(b) a plan may count on. Pure.

Windows of WINDOW_US over all executors of a pool together. The batch b is the planner's smallest cap that holds the
mean batch of the window, so that batches which did not fill count against the kind that they were planned as.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import msgspec

from optimizer.eta import START, Eta
from optimizer.serving import BATCHES
from registry.latency import LatencyProfile
from streams.records import Telemetry

WINDOW_US = 10_000_000
BATCHES_MIN = 20  # in a window: fewer say little about a batch's usual size
DEADBAND = 0.03  # what is said stays as it is within this, so that plans do not flap
EXECUTORS_MAX = 10_000  # heard of in one window
LEARNT_MAX = 10_000  # (variant, pool); of more, who was learnt longest ago is forgotten


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One executor's counters of one variant. Units: `sent_us` by its own clock."""

    pool: str
    sent_us: int
    lanes: int
    done: int
    batches: int
    busy_us: int


class Delivered:
    """Eta by (variant, pool), learnt. Counters that fell, and lanes that changed, begin a window anew."""

    def __init__(self) -> None:
        self._words: dict[str, Telemetry] = {}  # the last of each executor since the last window
        self._base: dict[tuple[str, str], Sample] = {}
        self._window_us = 0
        self._learnt: dict[tuple[str, str], Eta] = {}
        self._said: dict[str, float] = {}

    def heard(self, word: Telemetry) -> None:
        """An executor's telemetry."""
        if word.executor in self._words or len(self._words) < EXECUTORS_MAX:
            self._words[word.executor] = word

    def due(self, *, now_us: int) -> bool:
        """Whether a window is over; to be asked every second or so."""
        return now_us - self._window_us >= WINDOW_US

    def turn(self, profiles: Mapping[tuple[str, str], LatencyProfile], *, now_us: int) -> None:
        """Learn from a window if one is over.

        profiles: by (variant, pool).
        """
        if not self.due(now_us=now_us):
            return
        self._window_us = now_us
        samples = {
            (word.executor, lane.variant): Sample(
                word.pool, word.sent_us, lane.lanes, lane.done, lane.batches, lane.busy_us
            )
            for word in self._words.values() for lane in word.lanes if lane.lanes
        }  # fmt: skip
        self._words.clear()
        sums: dict[tuple[str, str], list[float]] = {}
        for key, sample in samples.items():
            base = self._base.get(key)
            if base is None or not _goes_on(base, sample):
                continue
            mine = sums.setdefault((key[1], sample.pool), [0.0] * 4)
            added = (
                sample.done - base.done, sample.batches - base.batches, sample.busy_us - base.busy_us,
                sample.lanes * (sample.sent_us - base.sent_us),
            )  # fmt: skip
            for n, value in enumerate(added):
                mine[n] += value
        self._base = samples
        for at, (done, batches, busy_us, lanes_us) in sums.items():
            latency = profiles.get(at)
            if latency is not None and batches >= BATCHES_MIN:
                self._observe(at, latency, done=done, batches=batches, busy_us=busy_us, lanes_us=lanes_us)

    def eta(self) -> dict[str, float]:
        """By `variant@pool`, to a hundredth; what was not learnt, or is as it is without learning, is left out."""
        for (variant, pool), learnt in self._learnt.items():
            name, value = f"{variant}@{pool}", learnt.value
            if abs(value - self._said.get(name, START)) >= DEADBAND:
                self._said[name] = round(value, 2)
        names = {f"{variant}@{pool}" for variant, pool in self._learnt}
        self._said = {name: value for name, value in self._said.items() if name in names}
        return dict(sorted(self._said.items()))

    def _observe(
        self, at: tuple[str, str], latency: LatencyProfile, *, done: float, batches: float, busy_us: float,
        lanes_us: float,
    ) -> None:  # fmt: skip
        """One window of all lanes of a variant on a pool: rates are a lane's mean, which gives the same ratio."""
        batch = min(cap_of(done / batches), latency.batch_max)
        known = self._learnt.pop(at, Eta())
        self._learnt[at] = known.observed(
            done * 1e6 / lanes_us, nominal_qps=batch * 1e6 / max(1, latency.p99_us[batch]),
            busy=min(1.0, busy_us / lanes_us), seconds=WINDOW_US / 1e6,
        )  # fmt: skip
        if len(self._learnt) > LEARNT_MAX:
            del self._learnt[next(iter(self._learnt))]


def cap_of(mean: float) -> int:
    """The smallest batch cap of the menu that holds a mean batch; a hundredth above a cap is still that cap."""
    return BATCHES[min(bisect_left(BATCHES, mean - 0.01 * mean), len(BATCHES) - 1)]


def _goes_on(base: Sample, sample: Sample) -> bool:
    """Whether both were counted by the same instances, without a reset between them."""
    return (
        (base.pool, base.lanes) == (sample.pool, sample.lanes) and sample.sent_us > base.sent_us
        and sample.done >= base.done and sample.batches >= base.batches and sample.busy_us >= base.busy_us
    )  # fmt: skip
