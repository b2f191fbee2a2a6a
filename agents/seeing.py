"""What the planner has heard of the fleet and the load, and the snapshot that it makes of it. Pure."""

from __future__ import annotations

from agents.failures import Failures
from agents.guard import demand_of
from agents.observed import Observed
from agents.ordering import Standing
from agents.plan_delivered import Delivered
from agents.planner_settings import PlannerSettings
from agents.warmth import Warmth
from registry.catalog import Catalog
from streams.hearing import Word
from streams.plans import Demand, Host, PoolNow, Snapshot
from streams.records import Forecast, PoolReport, Telemetry

SILENCE_US = 2_000_000  # an executor that says nothing for so long holds nothing that a plan could count on
POOL_SILENCE_US = 5_000_000
FORECAST_US = 5_000_000
IDLE_QPS = 0.01  # a class below it asks for nothing


class Seen:
    """The last word of each executor, provisioner and class, with the moment it was heard."""

    def __init__(self, settings: PlannerSettings) -> None:
        self._settings = settings
        self.executors: dict[str, tuple[Telemetry, int]] = {}
        self.pools: dict[str, tuple[PoolReport, int]] = {}
        self.forecasts: dict[str, tuple[Forecast, int]] = {}
        self._delivered = Delivered()
        self._failures = Failures()
        self._warmth = Warmth(settings.warm, keep_s=settings.keep_s)
        self._began_us = 0

    def heard(self, word: Word, *, now_us: int) -> None:
        self._began_us = self._began_us or now_us
        if isinstance(word, Telemetry):
            self.executors[word.executor] = word, now_us
            self._delivered.heard(word)
            self._failures.heard(word.executor, _failed(word), (lane.variant for lane in word.lanes), now_us=now_us)
        elif isinstance(word, PoolReport):
            self.pools[word.pool] = word, now_us

    def forecast(self, forecast: Forecast, *, now_us: int) -> None:
        if forecast.klass in self.forecasts or len(self.forecasts) < 16 * self._settings.classes_max:
            self.forecasts[forecast.klass] = forecast, now_us

    def asked(self, observed: Observed) -> None:
        """Note when each class was asked for last; at least once a minute, or idle times are missed."""
        self._warmth.asked(observed.last)

    def learn(self, catalog: Catalog, *, now_us: int) -> None:
        """From what lanes delivered, once a window is over; to be called every second or so."""
        if self._delivered.due(now_us=now_us):
            profiles = {(offer.variant, offer.pool): offer.latency for offer in catalog.offers()}
            self._delivered.turn(profiles, now_us=now_us)

    def snapshot(self, standing: Standing, observed: Observed, *, now_us: int) -> Snapshot:
        """The fleet as it will be once what stands is carried out, and what it has to do."""
        self.asked(observed)
        self._forget(observed, now_us)
        return Snapshot(
            made_us=now_us, hosts=self._hosts(standing, now_us), pools=self._pools(now_us),
            demands=self._demands(observed, now_us), warm=self._warmth.warm(now_s=now_us // 1_000_000),
            eta=self._delivered.eta(),
        )  # fmt: skip

    def loading(self, standing: Standing, *, now_us: int) -> frozenset[str]:
        """Executors that have not taken their order yet, or still load what it says."""
        orders = standing.now(now_us=now_us)
        return frozenset(
            word.executor
            for word in self._ready(now_us)
            if (order := orders.get(f"executor:{word.executor}")) is not None
            and (word.epoch < order.epoch or "loading" in word.pending.values())
        )

    def forgotten(self, standing: Standing, *, now_us: int) -> list[str]:
        """Keys of orders for executors that were not heard of for so long that they will not come back."""
        if now_us - self._began_us < self._settings.forget_s * 1_000_000:
            return []
        return [f"executor:{name}" for name in sorted(standing.executors) if name not in self.executors]

    def _ready(self, now_us: int) -> list[Telemetry]:
        return [
            word for _, (word, at_us) in sorted(self.executors.items())
            if word.state == "ready" and now_us - at_us < SILENCE_US
        ]  # fmt: skip

    def _hosts(self, standing: Standing, now_us: int) -> tuple[Host, ...]:
        hosts = []
        for word in self._ready(now_us):
            failed = tuple(sorted({*_failed(word), *self._failures.of(word.executor, now_us=now_us)}))
            ordered = standing.lanes(word.executor, now_us=now_us)
            held = {lane.variant: lane.lanes for lane in word.lanes} if ordered is None else ordered
            hosts.append(
                Host(
                    name=word.executor, pool=word.pool, cores=word.cores, memory_mb=word.memory_mb, failed=failed,
                    held={variant: lanes for variant, lanes in held.items() if variant not in failed},
                )
            )  # fmt: skip
        return tuple(hosts)

    def _pools(self, now_us: int) -> tuple[PoolNow, ...]:
        return tuple(
            PoolNow(
                pool=name, least=word.least, most=word.most, alive=word.booting + word.ready, cores=word.cores
            )
            for name, (word, at_us) in sorted(self.pools.items())
            if now_us - at_us < POOL_SILENCE_US
        )  # fmt: skip

    def _demands(self, observed: Observed, now_us: int) -> tuple[Demand, ...]:
        mine, now_s = self._settings, now_us // 1_000_000
        levels = observed.levels(now_s=now_s)
        demands = []
        for klass in levels.keys() | self.forecasts.keys():
            forecast, at_us = self.forecasts.get(klass, (None, 0))
            demand = demand_of(
                forecast if now_us - at_us < FORECAST_US else None, klass=klass, now_s=now_s, near_s=mine.near_s,
                far_s=mine.far_s, observed_qps=levels.get(klass, 0.0),
            )  # fmt: skip
            if max(demand.near, demand.far, demand.measured, demand.backlog) > IDLE_QPS:
                demands.append(demand)
        demands.sort(key=lambda demand: (-demand.near, demand.klass))
        return tuple(sorted(demands[: mine.classes_max], key=lambda demand: demand.klass))

    def _forget(self, observed: Observed, now_us: int) -> None:
        old_us = now_us - round(self._settings.forget_s * 1_000_000)
        self.executors = {name: said for name, said in self.executors.items() if said[1] > old_us}
        self._failures.keep(self.executors)
        self.pools = {name: said for name, said in self.pools.items() if said[1] > old_us}
        self.forecasts = {klass: said for klass, said in self.forecasts.items() if said[1] > old_us}
        observed.forget(before_s=old_us // 1_000_000)


def _failed(word: Telemetry) -> list[str]:
    return [variant for variant, state in word.pending.items() if state.startswith("failed")]
