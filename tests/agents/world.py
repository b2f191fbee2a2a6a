"""A small world for the router: executors with window drop, a transport that takes time, and a clock of events.

The selection under test is the shipped one; the executors are the least that behave like ours: one lane, earliest
deadline first, eager (phi = 0), batches grown for as long as the head allows.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np

from agents.fleet import Fleet
from agents.selection import Chosen, Selector
from executors.live import Live
from registry.correction import corrected
from registry.latency import LatencyProfile
from registry.targets import batch_target
from streams.records import LaneReport, Telemetry
from tests.agents.builders import MS, ROUTER, T0, Settings, catalog, query, requirements

RESERVE_US = 3 * MS
HEARTBEAT_US = 100 * MS
SPREAD = 0.03  # service times are uniform within it; the profile's p99 is at its upper end


Job = tuple[int, int]  # its deadline, and the number of the query


class Slowed(msgspec.Struct, frozen=True):
    """From when on, until when, and how many times slower some executors are. Units: seconds after the start."""

    executors: tuple[str, ...]
    from_s: float
    until_s: float
    times: float


class Station:
    """One executor with one lane of variant `v`; it measures itself as ours do, beside a profile for its speed."""

    def __init__(
        self,
        name: str,
        latency: LatencyProfile,
        *,
        slo_us: int,
        speed: float,
        rng: np.random.Generator,
        slowed: Slowed | None = None,
    ) -> None:
        self.name = name
        self.live = Live(latency.corrected(speed))
        self._slowed = slowed if slowed is not None and name in slowed.executors else None
        self._started: tuple[int, int] | None = None
        self.queue: list[Job] = []  # by deadline
        self.busy_until_us = 0
        self.seq = 0
        self.rate_qps = 0.0
        self._speed = speed
        self.drift = speed
        self._plain = [round(us * speed) for us in latency.p99_us]
        self._curve = latency
        self._slo_us = slo_us
        self._rng = rng
        self._heard_us = T0

    def arrive(self, job: Job, seq: int, *, now_us: int) -> None:
        self.queue.append(job)
        self.queue.sort()
        self.seq = max(self.seq, seq)
        gap_us = max(1, now_us - self._heard_us)
        weight = 1 - np.exp(-gap_us / (300 * MS))
        self.rate_qps += weight * (1e6 / gap_us - self.rate_qps)
        self._heard_us = now_us

    def fire(self, *, now_us: int) -> list[Job]:
        """Start a batch if free and return it. What its batch could not save is gone."""
        if self._started is not None and self.busy_until_us <= now_us:
            size, took_us = self._started
            self.live.measured(size, took_us, now_us=now_us)
            self._started = None
        if self.busy_until_us > now_us or not self.queue:
            return []
        live, doubt = self.live, self.live.doubt(now_us=now_us)
        self.drift = self._speed * (1.0 if doubt else live.ratio)
        curve = self._plain if doubt else corrected(self._plain, live.ratio, live.knots)
        start_us, most = now_us + RESERVE_US, self._curve.batch_max
        slo_us = int(self._slo_us / self.drift)
        target = batch_target(
            self._curve, slo_us=slo_us, rate_qps=self.rate_qps * self.drift, lanes=1, reserve_us=3 * MS
        )
        count, first = len(self.queue), 0
        while first < count and self.queue[first][0] < start_us + curve[min(count - first, most)]:
            first += 1
        size = max(1, min(target, count - first))
        self.queue = [job for job in self.queue if job[0] >= start_us + curve[size]]
        size = min(size, len(self.queue))
        while size < min(len(self.queue), most) and self.queue[0][0] >= start_us + curve[size + 1]:
            size += 1
        if not size:
            return []
        batch, self.queue = self.queue[:size], self.queue[size:]
        took_us = round(self._plain[size] / (1 + SPREAD) * self._rng.uniform(1 - SPREAD, 1 + SPREAD))
        if (slowed := self._slowed) is not None and slowed.from_s <= (now_us - T0) / 1e6 < slowed.until_s:
            took_us = round(took_us * slowed.times)
        self.busy_until_us = now_us + took_us
        self._started = size, took_us
        return batch

    def telemetry(self, *, now_us: int) -> Telemetry:
        live = self.live
        lane = LaneReport(
            variant="v", queued=len(self.queue), drift=self._speed * live.ratio, sizes=live.knots,
            doubt=int(live.doubt(now_us=now_us)),
        )  # fmt: skip
        return Telemetry(
            executor=self.name, pool="cpu", slots=(0,), busy_us=max(0, self.busy_until_us - now_us),
            lanes=(lane,), received={ROUTER: self.seq},
        )  # fmt: skip


class Sent(msgspec.Struct):
    """One query: when it came, and where it went ("" if it was refused); whether it was answered in time."""

    arrived_us: int
    executor: str = ""
    why: str = ""
    in_time: bool = False


def in_time_share(policy: Literal["blocks", "round-robin", "random"], **world: Any) -> float:
    """Run one stream through one router; returns the share answered in time, of all but the first tenth."""
    sent = stream(policy, **world)
    counted = sent[len(sent) // 10 :]
    return sum(one.in_time for one in counted) / len(counted)


def stream(
    policy: Literal["blocks", "round-robin", "random"],
    *,
    rate_qps: float,
    queries: int,
    seed: int,
    slos_ms: tuple[float, ...] = (150.0,),
    speeds: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
    fixed_ms: float = 25.5,
    item_ms: float = 5.4,
    cv: float = 1.0,
    slowed: Slowed | None = None,
    live_correction: bool = True,
) -> list[Sent]:
    """Run one stream through one router; returns what became of each query, by arrival."""
    rng = np.random.default_rng(seed)
    made = catalog(("v", 0.9, fixed_ms * (1 + SPREAD), item_ms * (1 + SPREAD)))
    fleet = Fleet(router=ROUTER)
    settings = Settings(policy, live_correction=live_correction)
    router = Selector(made, fleet, settings=settings, rng=np.random.default_rng(7))
    router.refresh(now_us=T0)
    curve = made.offers()[0].latency
    slo_us = round(float(np.mean(slos_ms)) * MS)
    stations = {
        f"e{i}": Station(f"e{i}", curve, slo_us=slo_us, speed=s, rng=rng, slowed=slowed) for i, s in enumerate(speeds)
    }
    classes = [requirements(slo_ms=slo_ms) for slo_ms in slos_ms]
    arrivals = T0 + np.cumsum(rng.gamma(1 / cv**2, cv**2 / rate_qps, queries) * 1e6).astype(int)
    which = rng.integers(len(classes), size=queries)
    hops = iter((rng.uniform(2, 4, 8 * queries + 10_000) * MS).astype(int).tolist())
    events: list[tuple[int, int, Callable[[int], None]]] = []
    tickets = iter(range(1 << 60))
    sent = [Sent(us) for us in arrivals.tolist()]

    def at(us: int, what: Callable[[int], None]) -> None:
        heapq.heappush(events, (us, next(tickets), what))

    def tell(station: Station, now_us: int) -> None:
        said = station.telemetry(now_us=now_us)

        def hear(us: int) -> None:
            fleet.heard(said, now_us=us)

        at(now_us + next(hops), hear)

    def beat(station: Station) -> Callable[[int], None]:
        def heartbeat(now_us: int) -> None:
            tell(station, now_us)
            if now_us < arrivals[-1]:
                at(now_us + HEARTBEAT_US, heartbeat)

        return heartbeat

    def fire(station: Station, now_us: int) -> None:
        batch = station.fire(now_us=now_us)
        if batch:
            done_us = station.busy_until_us
            for due_us, index in batch:
                sent[index].in_time = done_us + RESERVE_US <= due_us
            at(done_us, lambda us: fire(station, us))
            tell(station, now_us)

    def arrive(station: Station, job: Job, seq: int) -> Callable[[int], None]:
        def land(now_us: int) -> None:
            station.arrive(job, seq, now_us=now_us)
            fire(station, now_us)

        return land

    for station in stations.values():
        fleet.heard(station.telemetry(now_us=T0), now_us=T0)
        at(T0 + HEARTBEAT_US, beat(station))
    for index, (arrived_us, kind) in enumerate(zip(arrivals.tolist(), which.tolist(), strict=True)):
        while events and events[0][0] <= arrived_us:
            us, _, what = heapq.heappop(events)
            what(us)
        chosen = router.select(query(classes[kind], arrived_us=arrived_us), now_us=arrived_us)
        if isinstance(chosen, Chosen):
            sent[index].executor, sent[index].why = chosen.executor, chosen.why
            job = (chosen.deadline_us, index)
            at(arrived_us + next(hops), arrive(stations[chosen.executor], job, chosen.seq))
    while events:
        us, _, what = heapq.heappop(events)
        what(us)
    return sent


def goodput_qps(
    policy: Literal["blocks", "round-robin", "random"], *, low: float, high: float, steps: int, **world: object
) -> float:
    """The highest rate with at least 99 % in time, by bisection."""
    for _ in range(steps):
        middle = (low + high) / 2
        if in_time_share(policy, rate_qps=middle, **world) >= 0.99:
            low = middle
        else:
            high = middle
    return low
