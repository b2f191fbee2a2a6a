"""Making variants resident: which of the registry belong here, loading and measuring them, telling the core.

One thread loads, one variant after the other. A variant without a profile for this pool and this kind of machine is
measured and the profile published; a lock file keeps two executors of one machine from measuring at the same time.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from fnmatch import fnmatchcase

import msgspec

from executors.alone import alone
from executors.backends.open import open_backend
from executors.backends.protocol import Backend
from executors.finishing import Finish, finish
from executors.hardware import machine_kind
from executors.measure import measure
from executors.okheaders import OkHeaders
from executors.processing import Preparation, prepare
from executors.settings import ExecutorSettings
from registry.catalog import Catalog, Offer
from registry.records import Model, Pool, Variant
from registry.topic import Follower, publish
from streams.errors import HeadraceError, StoreUnreachable
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

FOLLOW_S = 10.0  # for an own record to come back from the registry
AGAIN_S = 30.0  # until an artifact is asked for again whose store did not answer
HEARSAY_S = 0.5  # for the record of the executor whose measurement was waited for


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    """A variant that runs here, with everything that one query of it needs."""

    variant: Variant
    model: Model
    offer: Offer
    prepare: Preparation
    finish: Finish
    headers: OkHeaders


Loaded = Callable[[Resident, list[Backend]], None]


class Residency(threading.Thread):
    """Follows the registry and keeps what matches the settings loaded.

    loaded, unloaded: called in this thread; the latter with whether the variant may first finish what waits for it: it
    was withdrawn, and not replaced. `complete` is set after the first pass, whatever it found.
    """

    def __init__(
        self,
        settings: ExecutorSettings,
        kafka: KafkaSettings,
        *,
        loaded: Loaded,
        unloaded: Callable[[str, bool], None],
    ) -> None:
        super().__init__(name="residency", daemon=True)
        self.complete = threading.Event()
        self.refused: dict[str, str] = {}  # variants that do not load here, and why
        self._settings = settings
        self._kafka = kafka
        self._loaded = loaded
        self._unloaded = unloaded
        self._machine = machine_kind()
        self._resident: dict[str, tuple[Variant, Model]] = {}
        self._tried: dict[str, tuple[Variant, Model]] = {}  # as it was when it was refused
        self._postponed = False  # something was refused that may be there soon
        self._changes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._follower = Follower(kafka, lambda _catalog: self._changes.put(True))

    def run(self) -> None:
        self._follower.start()
        catalog = self._follower.wait()
        self._announce_pool(catalog)
        while True:
            self._pass(catalog)
            self.complete.set()
            try:
                if not self._changes.get(timeout=AGAIN_S if self._postponed else None):
                    return
            except queue.Empty:
                continue
            while not self._changes.empty():
                if not self._changes.get():
                    return

    def stop(self) -> None:
        self._changes.put(False)
        self._follower.stop()

    def _pass(self, catalog: Catalog) -> None:
        self._postponed = False
        wanted = self._wanted(catalog)
        for name in [n for n, known in self._resident.items() if wanted.get(n) != known]:
            del self._resident[name]
            self._unloaded(name, name not in wanted)
        for name, (variant, model) in wanted.items():
            if name in self._resident or self._tried.get(name) == (variant, model):
                continue
            self.refused.pop(name, None)
            try:
                self._load(catalog, variant, model)
            except StoreUnreachable as silent:  # says nothing about the variant
                self._postponed = True
                self.refused[name] = silent.message
                log.warning("variant not loaded yet", extra={"variant": name, "error": silent.message})
            except HeadraceError as refused:
                self.refused[name], self._tried[name] = refused.message, (variant, model)
                log.warning("variant not loaded", extra={"variant": name, "error": refused.message})
            except Exception as bug:
                self.refused[name], self._tried[name] = f"{type(bug).__name__}: {bug}", (variant, model)
                log.exception("variant not loaded", extra={"variant": name})

    def _wanted(self, catalog: Catalog) -> dict[str, tuple[Variant, Model]]:
        mine = self._settings
        return {
            name: (variant, model)
            for name, variant in sorted(catalog.variants.items())
            if variant.hardware == mine.hardware
            and variant.width <= mine.cores
            and catalog.serves(variant)
            and (model := catalog.versions.model_of(variant)) is not None
            and any(fnmatchcase(name, glob) for glob in mine.variants)
        }

    def _load(self, catalog: Catalog, variant: Variant, model: Model) -> None:
        backends = [open_backend(variant, model) for _ in range(self._settings.cores // variant.width)]
        self._profile(catalog, variant, model, backends)
        place = (variant.name, self._settings.pool)
        offer = next((o for o in catalog.offers() if (o.variant, o.pool) == place), None)
        if offer is None:  # withdrawn while it was loaded
            return
        resident = Resident(
            variant=variant, model=model, offer=offer,
            prepare=prepare(model.preprocess, model), finish=finish(model.postprocess, model),
            headers=OkHeaders(variant=offer.variant, accuracy=offer.accuracy),
        )  # fmt: skip
        self._resident[variant.name] = (variant, model)
        self._loaded(resident, backends)

    def _profile(self, catalog: Catalog, variant: Variant, model: Model, backends: list[Backend]) -> None:
        """Load, and measure with all lanes busy if nobody has on such a machine."""
        if self._measured(catalog, variant):
            _load_all(backends)
            return
        with alone() as waited:
            if waited and self._until(lambda: self._measured(catalog, variant), HEARSAY_S):
                _load_all(backends)
                return
            profile = measure(
                backends[0], others=backends[1:], variant=variant, model=model, pool=self._settings.pool,
                machine=self._machine, budget_s=self._settings.measure_s,
            )  # fmt: skip
            publish(self._kafka, [profile])
            self._until(lambda: self._measured(catalog, variant), FOLLOW_S)

    def _measured(self, catalog: Catalog, variant: Variant) -> bool:
        profile = catalog.profiles.get((variant.name, self._settings.pool))
        return profile is not None and profile.machine == self._machine

    def _announce_pool(self, catalog: Catalog) -> None:
        mine = self._settings
        if mine.pool not in catalog.pools:
            publish(self._kafka, [Pool(name=mine.pool, hardware=mine.hardware, cores=mine.cores)])
            self._until(lambda: mine.pool in catalog.pools, FOLLOW_S)

    def _until(self, true: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for the registry to say something, in turns of 50 ms."""
        idle = threading.Event()
        for _ in range(round(timeout_s / 0.05)):
            if true():
                return True
            idle.wait(0.05)
        return true()


def _load_all(backends: list[Backend]) -> None:
    for backend in backends:
        backend.load()
