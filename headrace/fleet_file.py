"""A fleet file: pools of machines that are not here, and models that nobody has, to be rehearsed on this machine.

    fleet = read(Path("fleet.toml"))                        # checked; BadFleet names every violation
    loaded = load(config, flags=fleet.flags(control=True))  # headrace.settings: in which its pools stand
    records = records_of(fleet)                             # headrace.fleet_records: what it registers
    with Stack(loaded, config=config, fleet=fleet, records=records, tell=print) as stack:
        stack.wait_ready()                                  # then stack.kafka, stack.supervisor as with any other

`control=False` starts no planner and no forecaster: each pool has its `first` machines, or as many as an order on
`scaling` says, and executors load all that fits them, or what orders say (`--set executor.variants=` loads nothing
before). `headrace.roles.roles(loaded, config=..., bootstrap=..., fleet=fleet)` are the processes without a Stack.
A variant's name is MODEL/emulated-PRECISION-POOL, with -wWIDTH behind it if that is above 1. More: docs/emulation.md.
"""

from __future__ import annotations

import difflib
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from registry.manifest import NAME
from registry.records import Hardware
from streams.errors import ClientFault

POOL_NAME = r"^[a-z0-9][a-z0-9-]{0,40}$"
MACHINES_MAX = 200  # processes of this machine, over all pools
SLOTS_MIN, SLOTS_SPARE = 16, 4  # machines that drain still own theirs

Ms = Annotated[float, Field(gt=0.0, le=600_000.0)]


class BadFleet(ClientFault):
    """A fleet file that cannot be used; the message lists every violation, by its place in the file."""

    code = "bad_fleet"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PoolPart(_Part):
    """Units: `price_usd_hour` and `memory_mb` of one machine (0 MB: enough for everything)."""

    hardware: Hardware = "cpu"
    cores: int = Field(default=1, ge=1, le=512)  # of a device: lanes that run at once
    memory_mb: int = Field(default=0, ge=0)
    price_usd_hour: float = Field(ge=0.0, le=10_000.0)
    least: int = Field(default=1, ge=0, le=MACHINES_MAX)
    most: int = Field(default=4, ge=1, le=MACHINES_MAX)
    first: int = Field(default=1, ge=0, le=MACHINES_MAX)
    boot_s: float = Field(default=0.0, ge=0.0, le=3_000.0)


class TaskPart(_Part):
    slo_ms_default: float | None = Field(default=None, gt=0.0, le=86_400_000.0)
    description: str = ""


class CurvePart(_Part):
    """l50(b) = fixed + per_item b; p99 is `spread` times as long."""

    fixed_us: float = Field(ge=0.0, le=600e6)
    per_item_us: float = Field(ge=0.0, le=600e6)
    spread: float = Field(default=1.2, ge=1.0, le=100.0)


class VariantPart(_Part):
    """A variant on one pool. `latency_ms` are rows of batch, p50 and p99; or `curve` names one of the file's."""

    pool: str
    precision: str = Field(default="fp32", pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    width: int = Field(default=1, ge=1, le=512)
    batch_max: int = Field(default=32, ge=1, le=4_096)
    curve: str = ""
    latency_ms: tuple[tuple[Annotated[int, Field(ge=1, le=4_096)], Ms, Ms], ...] = ()
    load_s: float = Field(default=0.0, ge=0.0, le=3_600.0)
    memory_mb: int = Field(default=0, ge=0)
    accuracy: float | None = Field(default=None, ge=0.0, le=1.0)  # the variant's own, of a smaller precision say


class ModelPart(_Part):
    """Shapes: `input_shape` is one item of float32, without the batch axis."""

    task: str
    accuracy: float = Field(ge=0.0, le=1.0)
    input_shape: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = (4,)
    variants: tuple[VariantPart, ...]

    def names(self, model: str) -> list[str]:
        """Of the variants, in their order."""
        return [
            f"{model}/emulated-{each.precision}-{each.pool}{f'-w{each.width}' if each.width > 1 else ''}"
            for each in self.variants
        ]


class Fleet(_Part):
    """The whole file. `source` says where the figures come from; it stands beside every accuracy."""

    source: str = "invented"
    pools: dict[Annotated[str, Field(pattern=POOL_NAME)], PoolPart] = Field(min_length=1)
    tasks: dict[str, TaskPart] = {}
    curves: dict[str, CurvePart] = {}
    models: dict[str, ModelPart] = Field(min_length=1)

    def loads_s(self, pool: str) -> float:
        """What a machine takes to load all that may run on it, one instance after the other, as many as fit."""
        parts = [part for model in self.models.values() for part in model.variants if part.pool == pool]
        return sum(part.load_s * (self.pools[pool].cores // part.width) for part in parts)

    @property
    def start_s(self) -> float:
        """Until the machines that take longest have booted and loaded everything."""
        return max(pool.boot_s + self.loads_s(name) for name, pool in self.pools.items())

    def flags(self, *, control: bool) -> dict[str, dict[str, Any]]:
        """Settings by section that this fleet needs, as flags for `load` and `configure`."""
        pools = list(self.pools)
        slots = max(SLOTS_MIN, *(pool.most + SLOTS_SPARE for pool in self.pools.values()))
        found: dict[str, dict[str, Any]] = {
            "kafka": {"pools": pools, "slots": slots},
            "up": {"control": control, "executors": 0},
        }
        for section in ("executor", "provisioner", "up"):
            found.setdefault(section, {})["pool"] = pools[0]  # it must be one of them; each machine is told its own
        return found


def read(path: Path) -> Fleet:
    """Read and check it in one pass. Raises: BadFleet with every violation."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as missing:
        raise BadFleet(f"{path} cannot be read: {missing.strerror}") from missing
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise BadFleet(f"{path} is not TOML: {broken}") from broken
    try:
        fleet = Fleet.model_validate(values)
    except ValidationError as invalid:
        raise _bad(path, [_told(error) for error in invalid.errors()]) from invalid
    if violated := list(_violations(fleet)):
        raise _bad(path, violated)
    return fleet


def _bad(path: Path, violated: list[str]) -> BadFleet:
    count = "1 violation" if len(violated) == 1 else f"{len(violated)} violations"
    return BadFleet("\n".join([f"{path}: {count}", *violated]))


def _violations(fleet: Fleet) -> Iterator[str]:
    """What must hold between the parts."""
    for kind, names in (("tasks", fleet.tasks), ("models", fleet.models), ("curves", fleet.curves)):
        for name in names:
            if not NAME.match(name):
                yield f"{kind}.{name}: a name is 1 to 100 of a-z, 0-9, '.', '_', '-', letter or digit first"
    for name, pool in fleet.pools.items():
        if not pool.least <= pool.first <= pool.most:
            yield f"pools.{name}: first = {pool.first} is not within least = {pool.least} and most = {pool.most}"
    if (machines := sum(pool.most for pool in fleet.pools.values())) > MACHINES_MAX:
        yield f"pools: {machines} machines at the most, over {MACHINES_MAX}, and each is a process here"
    for name in sorted(fleet.tasks.keys() - {model.task for model in fleet.models.values()}):
        yield f"tasks.{name}: no model answers it"
    for name, model in fleet.models.items():
        if not model.variants:
            yield f"models.{name}: has no variants"
        if not model.input_shape:
            yield f"models.{name}: input_shape is empty"
        for variant, times in Counter(model.names(name)).items():
            if times > 1:
                yield f"models.{name}: {times} variants would have the name {variant}"
        for at, part in enumerate(model.variants):
            for problem in _wrong(fleet, part):
                yield f"models.{name}.variants[{at}]: {problem}"


def _wrong(fleet: Fleet, variant: VariantPart) -> Iterator[str]:
    pool = fleet.pools.get(variant.pool)
    if pool is None:
        yield f"pool = {variant.pool!r} is none of pools; {_nearest(variant.pool, list(fleet.pools))}"
    else:
        if variant.width > pool.cores:
            yield f"width = {variant.width}: a machine of {variant.pool} has {pool.cores} cores"
        if variant.width > 1 and pool.hardware != "cpu":
            yield f"width = {variant.width}: on {pool.hardware} a lane is 1 wide"
        if pool.memory_mb and variant.memory_mb > pool.memory_mb:
            yield f"memory_mb = {variant.memory_mb}: a machine of {variant.pool} has {pool.memory_mb}"
    if bool(variant.curve) == bool(variant.latency_ms):
        yield "has " + ("both curve and latency_ms" if variant.curve else "neither curve nor latency_ms")
    if variant.curve and variant.curve not in fleet.curves:
        yield f"curve = {variant.curve!r} is none of curves; {_nearest(variant.curve, list(fleet.curves))}"
    sizes = [row[0] for row in variant.latency_ms]
    if sizes != sorted(set(sizes)):
        yield f"latency_ms: batches {sizes} do not rise"
    for batch, p50_ms, p99_ms in variant.latency_ms:
        if p99_ms < p50_ms:
            yield f"latency_ms: at batch {batch} p99 = {p99_ms:g} is below p50 = {p50_ms:g}"


def _told(error: ErrorDetails) -> str:
    place = ""
    for part in error["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    if error["type"] == "extra_forbidden":
        return f"{place} is unknown"
    if error["type"] == "missing":
        return f"{place} is missing"
    shown = "" if isinstance(error["input"], dict | list) else f" = {error['input']!r}"
    return f"{place}{shown}: {error['msg'].replace('Input should', 'should', 1)}"


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or 'none'}"
