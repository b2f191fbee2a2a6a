"""The second world put together: queries, a router, machines, and what decides about them, on one engine.

    ran = World(setup, scene, seed=1).run()

The policies are those that ship; a record takes the hop's time, a batch the profile's. A run is a function of the
setup, the scene and the seed, as far as every plan ends at its gap (steward.py). Answers count as the client has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
import numpy as np

from agents.ordering import executor_order
from agents.planner_settings import PlannerSettings
from agents.verdict import Chosen
from executors.job import Job
from registry.catalog import Catalog
from simulator.engine import Engine
from simulator.gate import Choosing, Gate, Waiting
from simulator.hops import Delays, Hop, Partition
from simulator.loads import Scene
from simulator.loop import Loop, Looping
from simulator.node import Knobs, Node, Told
from simulator.scores import Answered, Score, jump_s, score
from simulator.steward import Control, Keeper, Site
from streams.records import Arrivals, PoolReport, Telemetry
from streams.scaling import ExecutorOrder, Order, PoolOrder

LAST_ANSWERS_S = 15.0
BACK_MAX = 5  # [executor] attempts_max

Lanes = dict[str, list[dict[str, int]]]


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What is simulated. Without `planner` or `loop` nothing changes: `lanes` are those of each pool's machines.

    Units: `warm_s` of the first second's load before the scene; `solve_us` from a plan's snapshot to its orders.
    """

    catalog: Catalog
    sites: tuple[Site, ...]
    planner: PlannerSettings | None = None
    loop: Looping | None = None
    lanes: Lanes = {}
    router: Choosing = Choosing()
    executor: Knobs = Knobs()
    hop: Hop = Hop()
    solve_us: int = 60_000
    warm_s: float = 20.0


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `codes`: answers that were not `ok`; `machines` by pool and `lanes` by variant, by the second.

    `paid_cores`: of a loop that pays by the core instead of by the machine.
    """

    score: Score
    answered: Answered
    codes: dict[str, int]
    machines: list[dict[str, int]]
    lanes: list[dict[str, int]]
    variants: dict[str, int]
    events: int
    plans: int
    paid_cores: float | None = None


class World:
    """One run. Use each once."""

    def __init__(self, setup: Setup, scene: Scene, *, seed: int) -> None:
        self.engine = Engine()
        self._setup, self._scene = setup, scene
        self._load_rng, hop_rng, self._lane_rng, router_rng = np.random.default_rng(seed).spawn(4)
        self._delays = Delays(setup.hop, hop_rng)
        self._asked = [ask.requirements for ask in scene.asks]
        self._accuracy = {offer.variant: offer.accuracy for offer in setup.catalog.offers()}
        self._nodes: dict[str, Node] = {}  # those that left too: what is on its way to them comes back
        self._ways: dict[str, Partition] = {}
        self._slots = 0
        self._first = 0  # number of the load's first query
        self._took_us = np.zeros(0, dtype=np.int64)
        self._got = np.zeros(0)
        self._written_us = np.zeros(0, dtype=np.int64)
        self._open: dict[int, tuple[Waiting, int]] = {}  # sent, and how often it came back
        self._codes: Counter[str] = Counter()
        self._variants: Counter[str] = Counter()
        self._machines: list[dict[str, int]] = []
        self._lanes: list[dict[str, int]] = []
        self.gate = Gate(
            self.engine, setup.catalog, name="r1", settings=setup.router, rng=router_rng, send=self._send,
            refuse=self._refuse, tell=self._counted,
        )  # fmt: skip
        self._control = None if setup.planner is None else Control(
            self.engine, setup.catalog, setup.planner, solve_us=setup.solve_us, order=self._ordered,
            publish=lambda record: self._later(self.gate.plan, record),
        )  # fmt: skip
        self._loop = None if setup.loop is None else Loop(self.engine, setup.loop, order=self._ordered)
        self._keepers: dict[str, Keeper] = {}
        for site in setup.sites:
            self._keepers[site.name] = Keeper(
                self.engine, site, start=self._boot, drain=self._drain, kill=self._kill, report=self._reported
            )

    def run(self) -> Ran:
        """The warm start, the scene, and the last answers."""
        scene, engine = self._scene, self.engine
        booted_us = max(round((site.boot_s + site.process_s + 5.0) * 1e6) for site in self._setup.sites)
        warm = scene.first(self._setup.warm_s)
        engine.run(engine.now_us + booted_us)
        whole_s = -(-engine.now_us // 1_000_000)
        self._take(warm, whole_s * 1_000_000)
        began_us = (whole_s + warm.seconds) * 1_000_000
        at_s, kind = self._take(scene, began_us, sample=True)
        engine.run(began_us + round((scene.seconds + LAST_ANSWERS_S) * 1e6))
        answered = Answered(at_s=at_s, kind=kind, took_us=self._took_us, accuracy=self._got)
        sizes = {site.name: (site.cores, site.price_usd_hour) for site in self._setup.sites}
        return Ran(
            score=score(
                scene.name, answered, scene.asks, self._machines, sizes, jump_s=jump_s(scene.total)
            ),
            answered=answered, codes=dict(self._codes), machines=self._machines, lanes=self._lanes,
            variants=dict(self._variants), events=engine.events, plans=self._control.plans if self._control else 0,
            paid_cores=None if self._loop is None else self._loop.cores(began_us, scene.seconds),
        )  # fmt: skip

    def _take(
        self, scene: Scene, began_us: int, *, sample: bool = False
    ) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
        """Let a load come. Returns: its queries' instants and classes, shapes (n,)."""
        engine = self.engine
        instants = list(scene.arrivals(self._load_rng))
        at_s = np.array([at for at, _ in instants])
        kind = np.array([each for _, each in instants], dtype=np.int64)
        self._first += len(self._took_us)
        self._codes.clear()
        self._variants.clear()
        self._took_us = np.full(len(instants), -1, dtype=np.int64)
        self._got = np.full(len(instants), np.nan)
        self._written_us = began_us + np.round(at_s * 1e6).astype(np.int64)
        read_us = np.maximum.accumulate(self._written_us + self._delays.many(len(instants)))
        rows = zip(read_us.tolist(), self._written_us.tolist(), kind.tolist(), strict=True)
        second_us = began_us
        for number, (at_us, written_us, which) in enumerate(rows):
            while sample and second_us <= at_us:
                engine.run(second_us)
                self._sample()
                second_us += 1_000_000
            engine.run(at_us)
            self.gate.arrive(self._first + number, self._asked[which], written_us)
        return at_s, kind

    def _sample(self) -> None:
        if len(self._machines) < self._scene.seconds:
            self._machines.append({name: len(keeper.machines) for name, keeper in self._keepers.items()})
            held: Counter[str] = Counter()
            for node in self._nodes.values():
                held.update(node.lanes)
            self._lanes.append(dict(held))

    def _later(self, what: Callable[..., object], *args: object) -> None:
        """Over one topic."""
        self.engine.after(self._delays.draw(), what, *args)

    # The router's records.

    def _send(self, waiting: Waiting, chosen: Chosen) -> None:
        self._open[waiting.number] = waiting, self._open.get(waiting.number, (waiting, 0))[1]
        job = Job(
            variant=chosen.offer.variant, deadline_us=chosen.deadline_us, queued_us=0, late_ok=chosen.late_ok,
            ref=waiting.number,
        )  # fmt: skip
        node = self._nodes[chosen.executor]
        arrival_us = self._ways[chosen.executor].arrival_us(self.engine.now_us)
        self.engine.at(arrival_us, node.arrive, [job], self.gate.name, chosen.seq)

    def _refuse(self, number: int, code: str) -> None:
        self._open.pop(number, None)
        self._answered(number, np.nan, code)

    def _counted(self, told: list[Arrivals]) -> None:
        for who in (self._control, self._loop):
            if who is not None:
                self._later(who.count, told)

    # The machines' records.

    def _told(self, told: Told) -> None:
        waiting, count = self._open[told.query]
        if told.outcome == "back" and count < BACK_MAX:
            self._open[told.query] = waiting, count + 1
            self._later(self.gate.choose, waiting)
            return
        del self._open[told.query]
        if told.outcome == "ok":
            self._answered(told.query, self._accuracy[told.variant], told.variant)
        else:
            self._answered(told.query, np.nan, told.code or "attempts_exhausted")

    def _answered(self, number: int, accuracy: float, what: str) -> None:
        """Note the moment at which its client has it; `what` is the variant, or the code."""
        row = number - self._first
        if row < 0:
            return  # of the warm start
        self._took_us[row] = self.engine.now_us + self._delays.draw() - self._written_us[row]
        self._got[row] = accuracy
        (self._codes if np.isnan(accuracy) else self._variants)[what] += 1

    def _said(self, word: Telemetry) -> None:
        way = self._ways[f"{word.executor} says"]
        self.engine.at(way.arrival_us(self.engine.now_us), self._heard, word)

    def _heard(self, word: Telemetry) -> None:
        self.gate.heard(word)
        self._keepers[word.pool].heard(word)
        for who in (self._control, self._loop):
            if who is not None:
                who.heard(word)

    # The pools.

    def _reported(self, report: PoolReport) -> None:
        if self._control is not None:
            self._later(self._control.heard, report)

    def _ordered(self, order: Order) -> None:
        if isinstance(order, PoolOrder):
            self._later(self._keepers[order.pool].order, order)
        elif isinstance(order, ExecutorOrder) and order.executor in self._nodes:
            self._later(self._nodes[order.executor].order, order)

    def _boot(self, name: str, site: Site) -> None:
        self.engine.after(round((site.boot_s + site.process_s) * 1e6), self._booted, name, site)

    def _booted(self, name: str, site: Site) -> None:
        if name not in self._keepers[site.name].machines:
            return  # given up meanwhile
        self._slots += 1
        self._ways[name], self._ways[f"{name} says"] = Partition(self._delays), Partition(self._delays)
        node = self._nodes[name] = Node(
            self.engine, self._setup.catalog, name=name, pool=site.name, hardware=site.hardware, cores=site.cores,
            memory_mb=site.memory_mb, slot=self._slots, knobs=self._setup.executor, rng=self._lane_rng,
            say=self._said, tell=self._told, gone=self._ended,
        )  # fmt: skip
        given = self._setup.lanes.get(site.name, [])
        if self._setup.planner is None and given:
            held = given[(int(name.rpartition("-")[2]) - 1) % len(given)]
            node.order(executor_order(name, held, epoch=1))

    def _drain(self, name: str) -> None:
        node = self._nodes.get(name)
        if node is None:  # it still boots
            self._ended(name)
        else:
            node.drain()

    def _kill(self, name: str) -> None:
        node = self._nodes.get(name)
        if node is not None:
            for number in node.kill():
                self._told(Told(number, "back"))

    def _ended(self, name: str) -> None:
        for keeper in self._keepers.values():
            keeper.ended(name)
