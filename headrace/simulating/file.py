"""A scenario file: the fleet, the load, and the policies that are compared on it.

scenario = read(Path("burst.toml"))  # checked; BadScenario names every violation
scene = scenario.scene(seed=1)
World(scenario.setup("headrace", scene), scene, seed=1).run()
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.planner_settings import PlannerSettings
from forecasting.trace import read as read_trace
from headrace.fleet_checks import told
from headrace.fleet_file import read as read_fleet
from headrace.fleet_parts import Fleet
from headrace.fleet_records import catalog_of
from headrace.layers import values_of
from headrace.scenario import oracle
from simulator.gate import Choosing
from simulator.hops import Hop
from simulator.loads import Ask, Scene, made, of_trace, steepest
from simulator.node import Knobs
from simulator.steward import Site
from simulator.world import Setup
from streams.errors import ClientFault

SECONDS_MAX = 14 * 86_400
OWN = "headrace"


class BadScenario(ClientFault):
    """A scenario file that cannot be used; the message lists every violation, by its place in the file."""

    code = "bad_scenario"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassPart(_Part):
    task: str
    slo_ms: float | None = Field(default=None, gt=0.0, le=86_400_000.0)
    accuracy_min: float | None = Field(default=None, ge=0.0, le=1.0)
    priority: int | None = Field(default=None, ge=0, le=9)


class LoadPart(_Part):
    """`shape` is made, or the `steepest` stretch of a trace, or its `whole`. Units: `qps` of the largest rate."""

    shape: Literal["burst", "diurnal", "mix-shift", "steepest", "whole"] = "burst"
    seconds: int = Field(default=180, ge=1, le=SECONDS_MAX)
    qps: float | None = Field(default=None, gt=0.0, le=1e6)
    trace: Path | None = None
    begin: int = Field(default=0, ge=0)
    classes: tuple[ClassPart, ...] = Field(min_length=1)


class PolicyPart(_Part):
    """One way to run it. `planner`, `router` and `executor` are settings of those sections; `static`: no planner."""

    static: bool = False
    budget_usd_hour: float = Field(default=0.0, ge=0.0)
    planner: dict[str, Any] = {}
    router: dict[str, Any] = {}
    executor: dict[str, Any] = {}


class HopPart(_Part):
    p50_ms: Annotated[float, Field(gt=0.0, le=10_000.0)] = 0.8
    p99_ms: Annotated[float, Field(gt=0.0, le=60_000.0)] = 4.0


class Scenario(_Part):
    """The whole file; paths are from its folder."""

    fleet: Path
    load: LoadPart
    hop: HopPart = HopPart()
    solve_ms: float = Field(default=60.0, ge=0.0, le=60_000.0)
    warm_s: float = Field(default=20.0, ge=0.0, le=3_600.0)
    process_s: float = Field(default=1.0, ge=0.0, le=600.0)
    policies: dict[str, PolicyPart] = {}

    @property
    def names(self) -> list[str]:
        """Of the policies; `headrace`, with default settings, is always one."""
        return [OWN, *(name for name in self.policies if name != OWN)]

    def scene(self, *, seed: int) -> Scene:
        """Raises: BadTrace, BadScenario."""
        load = self.load
        asks = tuple(Ask(**part.model_dump()) for part in load.classes)
        if load.shape in ("burst", "diurnal", "mix-shift"):
            return made(
                load.shape, asks, seconds=load.seconds, qps=load.qps or 100.0, rng=np.random.default_rng(seed)
            )  # fmt: skip
        if load.trace is None:
            raise BadScenario(f"load.shape = {load.shape!r} needs load.trace")
        whole = read_trace(load.trace).column(None)
        begin = load.begin
        if load.shape == "steepest":
            try:
                begin = steepest(whole, load.seconds)
            except ValueError as unfit:
                raise BadScenario(f"{load.trace}: {unfit}") from unfit
        part = whole[begin : begin + load.seconds]
        if not len(part):
            raise BadScenario(f"{load.trace}: it ends before second {begin}")
        return of_trace(part, asks, qps=load.qps, name=f"{load.trace.name}, from second {begin}")

    def setup(self, policy: str, scene: Scene) -> Setup:
        """Raises: BadScenario, BadFleet."""
        fleet, part = read_fleet(self.fleet), self.policies.get(policy, PolicyPart())
        catalog = catalog_of(fleet)
        planner, lanes = None, {}
        if part.static:
            plan = oracle.fixed(
                scene, oracle.peak(scene), fleet, catalog, budget_usd_hour=part.budget_usd_hour or None,
                clock=time.monotonic,
            )  # fmt: skip
            lanes = plan.lanes
            fleet = _first(fleet, plan.machines)
        else:
            planner = _checked(PlannerSettings, {"instance": "p", "far_s": fleet.far_s, **part.planner}, policy)
        try:
            router, executor = msgspec.convert(part.router, Choosing), msgspec.convert(part.executor, Knobs)
        except msgspec.ValidationError as invalid:
            raise BadScenario(f"policies.{policy}: {invalid}") from invalid
        return Setup(
            catalog=catalog, sites=sites_of(fleet, process_s=self.process_s), planner=planner, lanes=lanes,
            router=router, executor=executor, solve_us=round(self.solve_ms * 1_000), warm_s=self.warm_s,
            hop=Hop(p50_us=self.hop.p50_ms * 1_000, p99_us=self.hop.p99_ms * 1_000),
        )  # fmt: skip


def read(path: Path) -> Scenario:
    """Read and check. Raises: BadScenario with every violation of the file, BadFleet."""
    scenario: Scenario = _checked(Scenario, values_of(path, BadScenario), str(path))
    folder = path.parent
    load = scenario.load
    if load.trace is not None:
        load = load.model_copy(update={"trace": folder / load.trace})
    scenario = scenario.model_copy(update={"fleet": folder / scenario.fleet, "load": load})
    tasks = {model.task for model in read_fleet(scenario.fleet).models.values()}
    unknown = sorted({part.task for part in load.classes} - tasks)
    if unknown:
        raise BadScenario(f"{path}: no model of {scenario.fleet.name} serves {', '.join(unknown)}")
    return scenario


def sites_of(fleet: Fleet, *, process_s: float = 1.0) -> tuple[Site, ...]:
    return tuple(
        Site(
            name=name, hardware=pool.hardware, cores=pool.cores, memory_mb=pool.memory_mb, least=pool.least,
            price_usd_hour=pool.price_usd_hour, most=pool.most, first=pool.first, boot_s=pool.boot_s,
            process_s=process_s,
        )
        for name, pool in fleet.pools.items()
    )  # fmt: skip


def _first(fleet: Fleet, machines: dict[str, int]) -> Fleet:
    pools = {
        name: pool.model_copy(update=dict.fromkeys(("least", "first"), machines.get(name, 0)))
        for name, pool in fleet.pools.items()
    }
    return fleet.model_copy(update={"pools": pools})


def _checked(kind: Any, values: dict[str, Any], where: str) -> Any:
    try:
        return kind.model_validate(values)
    except ValidationError as invalid:
        lines = [told(each) for each in invalid.errors()]
        raise BadScenario("\n".join([f"{where}: {len(lines)} violation(s)", *lines])) from invalid
