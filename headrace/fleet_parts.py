"""The parts of a fleet file, and what follows from them for the settings."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from registry.records import Hardware

POOL_NAME = r"^[a-z0-9][a-z0-9-]{0,40}$"
MACHINES_MAX = 200  # processes of this machine, over all pools
SLOTS_MIN, SLOTS_SPARE = 16, 4  # machines that drain still own theirs
FAR_MIN_S, FAR_MAX_S = 20.0, 3_600.0

Ms = Annotated[float, Field(gt=0.0, le=600_000.0)]


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

    @property
    def far_s(self) -> float:
        """How far a machines plan should look ahead: until what it starts is there."""
        return min(FAR_MAX_S, max(FAR_MIN_S, self.start_s))

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
