"""Forecaster, planner and provisioners of the second world: the shipped policies, turned by the engine's clock.

Modelled is what is not a policy: the time of a solve, and a machine's boot. The solver keeps its limits by its own
clock, so a plan that ends at its limit instead of at its gap may differ from run to run.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from agents.leading import Leading
from agents.observed import Observed
from agents.ordering import Standing
from agents.outlook import Outlook
from agents.plan_making import Made, Maker
from agents.planner_settings import PlannerSettings, options_of
from agents.provisioning import Bounds, Drain, Kill, Machine, Start, decide, phase, within
from agents.seeing import Seen
from forecasting.forecaster import Forecaster, untrained
from registry.catalog import Catalog
from simulator.engine import Engine
from streams.clock import Micros
from streams.plans import PlanRecord
from streams.records import Arrivals, PoolReport, Telemetry
from streams.scaling import Order, PoolOrder

TURN_US, NEWS_US, LEARN_US = 100_000, 200_000, 1_000_000  # of the planner
POOL_TURN_US, POOL_REPORT_US = 200_000, 1_000_000
LATE_S = 3
SILENCE_US, DRAIN_US = 3_000_000, 30_000_000


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A pool of machines. Units: `price_usd_hour`, `memory_mb` of one; `process_s`: of its process, after the boot."""

    name: str
    hardware: str = "cpu"
    cores: int = 1
    memory_mb: int = 0
    price_usd_hour: float = 0.0
    least: int = 1
    most: int = 4
    first: int = 1
    boot_s: float = 0.0
    process_s: float = 1.0

    @property
    def bounds(self) -> Bounds:
        return Bounds(
            least=self.least, most=self.most, boot_us=Micros(round((self.boot_s + 60.0) * 1e6)),
            silence_us=Micros(SILENCE_US), drain_us=Micros(DRAIN_US),
        )  # fmt: skip


class Control:
    """Forecaster and planner. `order` writes an order, `publish` a plan."""

    def __init__(
        self, engine: Engine, catalog: Catalog, settings: PlannerSettings, *, solve_us: int,
        order: Callable[[Order], None], publish: Callable[[PlanRecord], None],
    ) -> None:  # fmt: skip
        self.plans = 0
        self._engine, self._catalog, self._settings = engine, catalog, settings
        self._solve_us, self._order, self._publish = solve_us, order, publish
        self._observed, self._seen, self._standing = Observed(), Seen(settings), Standing()
        self._leading = Leading(settings.instance)
        self._maker = Maker(options_of(settings), settings, clock=lambda: 0.0)
        forecaster = Forecaster(untrained())
        self._outlook = Outlook(forecaster, forecaster.start(), late_s=LATE_S)
        self._looked_us = self._learnt_us = self._said_s = 0
        self._solving = False
        engine.every(TURN_US, self._turn)

    def count(self, told: list[Arrivals]) -> None:
        """Records of `arrivals`."""
        now_s = self._engine.now_us // 1_000_000
        for each in told:
            self._observed.add(each, now_s=now_s)
            self._outlook.add(each, partition=0, offset=0, now_s=now_s)

    def heard(self, word: Telemetry | PoolReport) -> None:
        self._seen.heard(word, now_us=self._engine.now_us)

    def _turn(self) -> None:
        now_us = self._engine.now_us
        now_s = now_us // 1_000_000
        if now_s != self._said_s:
            self._said_s = now_s
            self._outlook.close(now_s)
            if self._outlook.ready(now_s):
                for said in self._outlook.publish(backlog=0.0, name="f"):
                    self._seen.forecast(said, now_us=now_us)
        leads = self._leading.leads(now_s=now_us / 1e6)
        if now_us - self._learnt_us >= LEARN_US:
            self._learnt_us = now_us
            self._seen.asked(self._observed)
            self._seen.learn(self._catalog, now_us=now_us)
        lanes_us = round(self._settings.lanes_s * 1e6)
        wait_us = min(NEWS_US, lanes_us) if self._observed.news else lanes_us
        if leads and not self._solving and now_us - self._looked_us >= wait_us:
            self._looked_us, self._observed.news = now_us, False
            self._solve(now_us)

    def _solve(self, now_us: int) -> None:
        snapshot = self._seen.snapshot(self._standing, self._observed, now_us=now_us)
        made = self._maker.make(
            snapshot, self._catalog, self._standing.executors, self._seen.loading(self._standing, now_us=now_us),
            fresh=self._leading.fresh,
        )  # fmt: skip
        if made is not None:
            self._solving = True
            self._engine.after(self._solve_us, self._carry_out, made)

    def _carry_out(self, made: Made) -> None:
        now_us = self._engine.now_us
        self._solving = False
        epoch = self._leading.next_epoch(self._standing.epoch)
        orders = self._standing.changes(made.hosts, made.pools, epoch=epoch, now_us=now_us)
        for order in orders:
            self._standing.sent(order, now_us=now_us)
            self._standing.read(order.key, order)
            self._order(order)
        for key in self._seen.forgotten(self._standing, now_us=now_us):
            self._standing.deleted(key)
        if orders or made.news:
            self._leading.gave(epoch)
            self.plans += 1
            self._publish(made.record(epoch, self._settings.instance))


class Keeper:
    """A provisioner: `start` makes a machine that is there once it booted, `drain` and `kill` end one."""

    def __init__(
        self, engine: Engine, site: Site, *, start: Callable[[str, Site], None], drain: Callable[[str], None],
        kill: Callable[[str], None], report: Callable[[PoolReport], None],
    ) -> None:  # fmt: skip
        self.site = site
        self.machines: dict[str, Machine] = {}
        self._engine = engine
        self._start, self._drain, self._kill, self._report = start, drain, kill, report
        self._order: PoolOrder | None = None
        self._number = 0
        engine.every(POOL_TURN_US, self._turn)
        engine.every(POOL_REPORT_US, self._say)
        self._turn()
        self._say()

    def order(self, order: PoolOrder) -> None:
        if self._order is None or order.epoch >= self._order.epoch:
            self._order = order

    def heard(self, word: Telemetry) -> None:
        machine = self.machines.get(word.executor)
        if machine is not None:
            self.machines[word.executor] = machine._replace(heard_us=Micros(self._engine.now_us))

    def ended(self, name: str) -> None:
        self.machines.pop(name, None)

    @property
    def _wanted(self) -> int:
        return within(self.site.first if self._order is None else self._order.machines, self.site.bounds)

    def _turn(self) -> None:
        now_us = Micros(self._engine.now_us)
        leaving = () if self._order is None else self._order.leaving
        machines = list(self.machines.values())
        for act in decide(self._wanted, machines, self.site.bounds, leaving=leaving, now_us=now_us):
            match act:
                case Start(count):
                    for _ in range(count):
                        self._number += 1
                        name = f"{self.site.name}-{self._number}"
                        self.machines[name] = Machine(name, now_us)
                        self._start(name, self.site)
                case Drain(name):
                    self.machines[name] = self.machines[name]._replace(drain_us=now_us)
                    self._drain(name)
                case Kill(name):
                    self.machines.pop(name)
                    self._kill(name)

    def _say(self) -> None:
        now_us, bounds = Micros(self._engine.now_us), self.site.bounds
        phases = [phase(machine, bounds, now_us=now_us) for machine in self.machines.values()]
        self._report(
            PoolReport(
                pool=self.site.name, epoch=0 if self._order is None else self._order.epoch, wanted=self._wanted,
                booting=phases.count("booting"), ready=phases.count("ready"), draining=phases.count("draining"),
                least=self.site.least, most=self.site.most, cores=self.site.cores,
            )
        )  # fmt: skip
