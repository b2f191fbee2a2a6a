"""The catalogue: a fold of registry records, and the menu that selection reads from it."""

from __future__ import annotations

import msgspec

from registry import records
from registry.intervals import sure
from registry.latency import LatencyProfile
from registry.records import Model, Pool, Profile, Record, RefusedVariant, Task, Variant

HOUR_US = 3_600_000_000


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One variant on one pool, ready to be chosen; `accuracy_low` is the lower end of its interval, 0 if unknown.

    Units: `cost_usd` is for 1,000 queries at batch 1 (the dearest), `lane_usd_us` is USD per microsecond of a lane.
    """

    variant: str
    model: str
    task: str
    pool: str
    hardware: str
    width: int
    accuracy: float
    latency: LatencyProfile
    cost_usd: float
    lane_usd_us: float
    accuracy_low: float = 0.0


class Catalog:
    """Everything registered so far; `version` grows with every change, so that readers can cache."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.models: dict[str, Model] = {}
        self.variants: dict[str, Variant] = {}
        self.refused: dict[str, RefusedVariant] = {}
        self.pools: dict[str, Pool] = {}
        self.profiles: dict[tuple[str, str], Profile] = {}
        self.version = 0

    def apply(self, key: str, value: bytes | None) -> Record | None:
        """Fold one record of the registry topic in; None deletes its key.

        Raises: msgspec.MsgspecError on a value that this version cannot read; the catalogue is then unchanged.
        """
        if value is None:
            self._remove(key)
            return None
        record: Record = records.decode(value)
        self.add(record)
        return record

    def add(self, record: Record) -> None:
        match record:
            case Task():
                self.tasks[record.name] = record
            case Model():
                self.models[record.name] = record
            case Variant():
                self.variants[record.name] = record
                self.refused.pop(record.name, None)
            case RefusedVariant():
                self.refused[record.variant] = record
            case Pool():
                self.pools[record.name] = record
            case Profile():
                self.profiles[record.variant, record.pool] = record
        self.version += 1

    def offers(self) -> list[Offer]:
        """Every variant that has a model, a task and a profile, once per pool that it was measured for."""
        menu = []
        for (name, pool_name), profile in list(self.profiles.items()):  # a follower may add to them meanwhile
            variant, pool = self.variants.get(name), self.pools.get(pool_name)
            model = self.models.get(variant.model) if variant else None
            if variant is None or pool is None or model is None or model.task not in self.tasks:
                continue
            latency = LatencyProfile(profile.points, batch_max=variant.batch_max)
            accuracy = variant.accuracy or model.accuracy
            lane_usd_us = pool.price_usd_hour / HOUR_US * min(1.0, variant.width / pool.cores)
            menu.append(
                Offer(
                    variant=name,
                    model=model.name,
                    task=model.task,
                    pool=pool_name,
                    hardware=variant.hardware,
                    width=variant.width,
                    accuracy=accuracy.value,
                    accuracy_low=sure(accuracy),
                    latency=latency,
                    cost_usd=lane_usd_us * latency.p50_us[1] * 1_000,
                    lane_usd_us=lane_usd_us,
                )
            )
        return menu

    def _remove(self, key: str) -> None:
        kind, _, name = key.partition(":")
        shelf: dict[str, dict[str, object]] = {
            "task": self.tasks,  # type: ignore[dict-item]
            "model": self.models,  # type: ignore[dict-item]
            "variant": self.variants,  # type: ignore[dict-item]
            "refused": self.refused,  # type: ignore[dict-item]
            "pool": self.pools,  # type: ignore[dict-item]
        }
        if kind == "profile":
            variant, _, pool = name.rpartition("@")
            self.profiles.pop((variant, pool), None)
        elif kind in shelf:
            shelf[kind].pop(name, None)
        self.version += 1
