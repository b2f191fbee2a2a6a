"""Making variants resident: which of the registry belong here, loading and measuring them, telling the core.

One thread loads, one variant after the other; what comes first is for orders.py to say. A variant without a profile for
this pool and this kind of machine is measured and the profile published; a lock file keeps two executors of one machine
from measuring at the same time.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from fnmatch import fnmatchcase

import msgspec

from executors.alone import alone
from executors.backends.emulated import emulate
from executors.backends.open import open_backend
from executors.backends.protocol import Backend
from executors.finishing import Finish, finish
from executors.hardware import machine_kind
from executors.measure import measure
from executors.memory import loadable_bytes
from executors.okheaders import OkHeaders
from executors.ordered import Orders
from executors.orders import Drop, Load, Refuse, Resize, Want, next_step
from executors.processing import Preparation, prepare
from executors.settings import ExecutorSettings
from registry.catalog import Catalog, Offer
from registry.latency import LatencyProfile
from registry.records import EMULATED, Model, Pool, Variant
from registry.topic import Follower, publish
from streams.errors import HeadraceError, StoreUnreachable
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

FOLLOW_S = 10.0  # for an own record to come back from the registry
AGAIN_S = 30.0  # until an artifact is asked for again whose store did not answer
STEPS_MAX = 4_096  # in one pass; more wait for the next
WHY_MAX = 200  # characters of a refusal in telemetry
HEARSAY_S = 0.5  # for the record of the executor whose measurement was waited for


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    """A variant that runs here, with everything that one query of it needs."""

    variant: Variant
    model: Model
    offer: Offer
    prepare: Preparation
    finish: Finish
    headers: OkHeaders
    latency: LatencyProfile  # of the offer, up to the batch that was ordered
    lanes: int  # instances


Loaded = Callable[[Resident, list[Backend], bool], None]


class Residency(threading.Thread):
    """Follows the registry and the orders, and keeps loaded what an order says, or else what matches the settings.

    loaded:    called in this thread with a variant's instances, or (True) with those added to the ones it has.
    unloaded:  the same, with whether it may first finish what waits for it (it was not replaced), and what to call
               once it is gone. `complete` is set after the first pass, whatever it found.
    """

    def __init__(
        self,
        settings: ExecutorSettings,
        kafka: KafkaSettings,
        *,
        loaded: Loaded,
        unloaded: Callable[[str, bool, Callable[[], None]], None],
    ) -> None:
        super().__init__(name="residency", daemon=True)
        self.complete = threading.Event()
        self.refused: dict[str, str] = {}  # variants that do not load here, and why
        self._settings = settings
        self._kafka = kafka
        self._loaded = loaded
        self._unloaded = unloaded
        self._machine = EMULATED if settings.emulated else machine_kind()
        self._memory_bytes = loadable_bytes(settings)
        self._here: dict[str, Want] = {}
        self._leaving: dict[str, int] = {}  # bytes of what was dropped and is not gone yet
        self._missing: tuple[str, ...] = ()
        self._tried: dict[str, object] = {}  # as it was when it was refused
        self._emulated = 0  # instances so far
        self._postponed = False  # something was refused that may be there soon
        self._changes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._follower = Follower(kafka, lambda _catalog: self._changes.put(True))
        self._orders = Orders(kafka, settings.instance, lambda: self._changes.put(True))

    def run(self) -> None:
        self._follower.start()
        self._orders.start()
        catalog = self._follower.wait()
        self._orders.known()
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
        self._orders.stop()

    def orders(self) -> tuple[int, dict[str, str]]:
        """The epoch of the order that is followed, and what is not as it says yet; from any thread."""
        pending = dict.fromkeys(self._missing, "loading")
        pending.update(dict.fromkeys(tuple(self._leaving), "draining"))
        pending.update({name: f"failed: {why[:WHY_MAX]}" for name, why in tuple(self.refused.items())})
        return self._orders.epoch, pending

    def _pass(self, catalog: Catalog) -> None:
        """Do what is to be done, a step at a time, as the registry and the order are by then."""
        self._postponed = False
        found = self._wanted(catalog)
        self.refused = {name: why for name, why in self.refused.items() if name in self._tried and name in found}
        for _ in range(STEPS_MAX):
            found = self._wanted(catalog)
            wanted = {name: want for name, (want, _, _) in found.items()}
            self._missing = tuple(
                name for name, want in wanted.items()
                if name not in self.refused and (name not in self._here or self._here[name].lanes < want.lanes)
            )  # fmt: skip
            failed = [name for name in self.refused if name in wanted and not self._new(name, wanted[name])]
            step = next_step(
                wanted, self._here, leaving_bytes=sum(self._leaving.values()), failed=failed,
                memory_bytes=self._memory_bytes,
            )  # fmt: skip
            match step:
                case None:
                    return
                case Load(name) | Resize(name):
                    self._try(catalog, *found[name])
                case Drop(name, drain):
                    self._drop(name, drain=drain and name not in wanted)
                case Refuse(name, why):
                    self.refused[name] = why
                    log.warning("variant not loaded", extra={"variant": name, "error": why})

    def _new(self, name: str, want: Want) -> bool:
        """Whether what was refused is another thing by now."""
        return self._tried.get(name, want.tried) != want.tried

    def _try(self, catalog: Catalog, want: Want, variant: Variant, model: Model) -> None:
        name = variant.name
        self.refused.pop(name, None)
        try:
            self._load(catalog, want, variant, model)
        except StoreUnreachable as silent:  # says nothing about the variant
            self._postponed = True
            self.refused[name] = silent.message
            log.warning("variant not loaded yet", extra={"variant": name, "error": silent.message})
        except HeadraceError as refused:
            self.refused[name], self._tried[name] = refused.message, want.tried
            log.warning("variant not loaded", extra={"variant": name, "error": refused.message})
        except Exception as bug:
            self.refused[name], self._tried[name] = f"{type(bug).__name__}: {bug}", want.tried
            log.exception("variant not loaded", extra={"variant": name})

    def _drop(self, name: str, *, drain: bool) -> None:
        gone = self._here.pop(name)
        self._leaving[name] = gone.lanes * gone.memory_bytes

        def done() -> None:
            self._leaving.pop(name, None)
            self._changes.put(True)

        self._unloaded(name, drain, done)

    def _wanted(self, catalog: Catalog) -> dict[str, tuple[Want, Variant, Model]]:
        mine, order = self._settings, self._orders.order
        asked = None if order is None else {lane.variant: lane for lane in order.lanes}
        found: dict[str, tuple[Want, Variant, Model]] = {}
        for name, variant in sorted(catalog.variants.items()):
            if not self._fits(catalog, variant):
                continue
            model = catalog.versions.model_of(variant)
            lane = None if asked is None else asked.get(name)
            if model is None or (lane is None and (asked is not None or not self._matches(name))):
                continue
            most = mine.cores // variant.width
            want = Want(
                identity=self._identity(catalog, variant, model),
                lanes=most if lane is None else min(lane.lanes, most),
                batch_max=0 if lane is None else lane.batch_max,
                memory_bytes=self._memory_of(catalog, variant),
            )
            found[name] = want, variant, model
        for name in (asked or {}).keys() - found.keys():
            self.refused[name] = f"no such variant for {mine.hardware} with {mine.cores} cores in the registry"
        return found

    def _fits(self, catalog: Catalog, variant: Variant) -> bool:
        """Whether it could run here. What is emulated takes its time from its profile, and cannot be measured."""
        mine = self._settings
        if (variant.framework == EMULATED) != mine.emulated or (mine.emulated and not self._measured(catalog, variant)):
            return False
        return variant.hardware == mine.hardware and variant.width <= mine.cores and catalog.serves(variant)

    def _identity(self, catalog: Catalog, variant: Variant, model: Model) -> tuple[object, ...]:
        profile = catalog.profiles.get((variant.name, self._settings.pool)) if self._settings.emulated else None
        return variant, model, profile

    def _matches(self, name: str) -> bool:
        return any(fnmatchcase(name, glob) for glob in self._settings.variants)

    def _load(self, catalog: Catalog, want: Want, variant: Variant, model: Model) -> None:
        """Load a variant, or an instance that it lacks; all at once where they are to be measured together.

        One at a time otherwise: the first serves while the second loads, and a newer order is heard in between.
        """
        have = self._here.get(variant.name)
        held = have.lanes if have is not None else 0
        if want.lanes > held + 1 and self._measured(catalog, variant):
            want = msgspec.structs.replace(want, lanes=held + 1)
        lacking = max(0, want.lanes - held)
        backends = [self._open(catalog, variant, model) for _ in range(lacking)]
        self._profile(catalog, variant, model, backends)
        place = (variant.name, self._settings.pool)
        offer = next((o for o in catalog.offers() if (o.variant, o.pool) == place), None)
        if offer is None:  # withdrawn while it was loaded
            for backend in backends:
                backend.close()
            return
        resident = Resident(
            variant=variant, model=model, offer=offer, lanes=want.lanes,
            latency=offer.latency.capped(want.batch_max or offer.latency.batch_max),
            prepare=prepare(model.preprocess, model), finish=finish(model.postprocess, model),
            headers=OkHeaders(variant=offer.variant, accuracy=offer.accuracy, emulated=self._settings.emulated),
        )  # fmt: skip
        self._here[variant.name] = msgspec.structs.replace(want, memory_bytes=self._memory_of(catalog, variant))
        self._tried.pop(variant.name, None)
        self._loaded(resident, backends, have is not None)

    def _open(self, catalog: Catalog, variant: Variant, model: Model) -> Backend:
        mine = self._settings
        if not mine.emulated:
            return open_backend(variant, model)
        self._emulated += 1
        who = f"{mine.instance} {self._emulated}"
        return emulate(variant, model, catalog.profiles.get((variant.name, mine.pool)), seed=mine.seed, who=who)

    def _profile(self, catalog: Catalog, variant: Variant, model: Model, backends: list[Backend]) -> None:
        """Load, and measure with all lanes busy if nobody has on such a machine."""
        if not backends or self._measured(catalog, variant):
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

    def _memory_of(self, catalog: Catalog, variant: Variant) -> int:
        """Bytes of one instance; 0 where it was not measured on such a machine."""
        return (
            catalog.profiles[variant.name, self._settings.pool].memory_bytes if self._measured(catalog, variant) else 0
        )

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
