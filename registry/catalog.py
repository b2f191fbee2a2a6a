"""The catalogue: a fold of registry records, and the menu that selection reads from it."""

from __future__ import annotations

import msgspec

from registry import records
from registry.intervals import sure
from registry.latency import LatencyProfile
from registry.lifecycle import Role
from registry.lifecycle_fold import Versions
from registry.records import EMULATED, Model, Pool, Profile, Record, RefusedVariant, Release, Task, Variant

HOUR_US = 3_600_000_000


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One variant on one pool, ready to be chosen; `accuracy_low` is the lower end of its interval, 0 if unknown.

    `share` of the queries goes to a canary's offers; None for those of the stable version.

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
    version: str = ""
    share: float | None = None


class Catalog:
    """Everything registered so far; `version` grows with every change, so that readers can cache.

    It is a function of what the topic holds: the last record of each key, in the order of their writing. So a replay
    of a compacted topic ends in the same catalogue as one from its beginning.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.versions = Versions()
        self.models = self.versions.models  # by name: the version in force
        self.releases = self.versions.releases
        self.variants: dict[str, Variant] = {}
        self.pools: dict[str, Pool] = {}
        self.profiles: dict[tuple[str, str], Profile] = {}
        self.version = 0
        self._refused: dict[str, tuple[int, RefusedVariant]] = {}
        self._published: dict[str, int] = {}  # variants, and when each was last written
        self._records = 0
        self._real: tuple[int, frozenset[str]] = (-1, frozenset())  # as of which version, and tasks

    @property
    def refused(self) -> dict[str, RefusedVariant]:
        """Variants whose last word was a refusal."""
        return {name: record for name, (at, record) in list(self._refused.items()) if at > self._published.get(name, 0)}

    def apply(self, key: str, value: bytes | None) -> Record | None:
        """Fold one record of the registry topic in; None deletes its key.

        Raises: msgspec.MsgspecError on a value that this version cannot read; the catalogue is then unchanged.
        """
        if value is None:
            self._remove(key)
            return None
        record: Record = records.decode(value)
        self.add(record, key=key)
        return record

    def add(self, record: Record, *, key: str = "") -> None:
        """Fold one record in; `key` is the one that it stands under, unless its own."""
        self._records += 1
        match record:
            case Task():
                self.tasks[record.name] = record
            case Model() | Release():
                self.versions.add(key or record.key, record)
            case Variant():
                self.variants[record.name] = record
                self._published[record.name] = self._records
            case RefusedVariant():
                self._refused[record.variant] = (self._records, record)
            case Pool():
                self.pools[record.name] = record
            case Profile():
                self.profiles[record.variant, record.pool] = record
        self.version += 1

    def serves(self, variant: Variant) -> bool:
        """Whether queries go to this variant: its version is stable or a canary, and its model is known.

        None goes to an emulated one of a task that real ones serve: nobody asked for emulation there.
        """
        model = self._served(variant)
        if model is None or variant.framework != EMULATED:
            return model is not None
        return model.task not in self._tasks_of_real()

    def offers(self) -> list[Offer]:
        """Every variant in service that has a model, a task and a profile, once per pool that it was measured for."""
        menu = []
        for (name, pool_name), profile in list(self.profiles.items()):  # a follower may add to them meanwhile
            variant, pool = self.variants.get(name), self.pools.get(pool_name)
            if variant is None or pool is None or not self.serves(variant):
                continue
            model = self.versions.model_of(variant)
            if model is None or model.task not in self.tasks:
                continue
            release = self.releases.get(model.name)
            tried = release is not None and self.versions.role_of(variant) is Role.CANARY
            accuracy = variant.accuracy or model.accuracy
            latency = LatencyProfile(profile.points, batch_max=variant.batch_max)
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
                    version=model.version,
                    share=release.share if release is not None and tried else None,
                )
            )
        return menu

    def _served(self, variant: Variant) -> Model | None:
        role = self.versions.role_of(variant)
        return self.versions.model_of(variant) if role in (Role.STABLE, Role.CANARY) else None

    def _tasks_of_real(self) -> frozenset[str]:
        """Tasks that a variant in service answers which is not emulated."""
        version, tasks = self._real
        if version != self.version:
            version = self.version
            real = [variant for variant in list(self.variants.values()) if variant.framework != EMULATED]
            tasks = frozenset(model.task for each in real if (model := self._served(each)) is not None)
            self._real = version, tasks
        return tasks

    def _remove(self, key: str) -> None:
        kind, _, name = key.partition(":")
        match kind:
            case "task":
                self.tasks.pop(name, None)
            case "model" | "release":
                self.versions.remove(key)
            case "variant":
                self.variants.pop(name, None)
                self._published.pop(name, None)
            case "refused":
                self._refused.pop(name, None)
            case "pool":
                self.pools.pop(name, None)
            case "profile":
                variant, _, pool = name.rpartition("@")
                self.profiles.pop((variant, pool), None)
        self.version += 1
