"""One run of the demo on a stack that is up: warm up, a steady load, a short overload, the last answers."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from rich.console import Console

from headrace.demo.batches import Batches
from headrace.demo.ledger import Ledger
from headrace.demo.live import Progress
from headrace.demo.load import Load
from headrace.demo.queries import DIGITS, IMAGES, Material, Mix, slo_ms
from headrace.demo.report import Report, report
from headrace.listen import Heard
from headrace.settings import Loaded
from headrace.stack import NotReady, Stack
from registry import topic
from registry.catalog import Catalog, Offer
from streams.contract import OnMiss

WARM_ROUNDS = 3  # of every model, on every executor
DIGITS_QPS = 150.0
IMAGES_QPS_MIN = 5.0
IMAGE_CORES = 0.2  # share of the executors' cores that images may keep busy in the steady phase
OVERLOAD = 2.0  # times what the executors can do with the most accurate image model
OVERLOAD_S = 5.0
OVERLOAD_SLO = 10.0  # times one query of the dearest variant
PATIENCE_S = 30.0  # for the last answers: a takeover takes 6 s, best effort waits for its turn
KILLED_AT = 0.5  # of the steady phase, with --chaos


class Plan(NamedTuple):
    """What to run. Units: queries a second, seconds; `image_share` is of the steady load."""

    rate_qps: float
    seconds: float
    image_share: float
    overload_qps: float
    overload_slo_ms: float
    chaos: bool
    seed: int


def calibrate(
    offers: Sequence[Offer], *, executors: int, queries: int, rate_qps: float | None, seconds: float | None, chaos: bool
) -> Plan:
    """A load that this machine can bear, from its measured profiles.

    Images may keep a fifth of the cores busy, digits come at 150/s, and the steady phase is as long as `queries`
    last at that rate, unless the rate or the time is given.
    """
    images = [offer for offer in offers if offer.task == IMAGES]
    best = max(offer.accuracy for offer in images)
    dearest_s = max(offer.latency.p50_us[1] for offer in images) / 1e6
    images_qps = max(IMAGES_QPS_MIN, IMAGE_CORES * executors / dearest_s)
    rate = rate_qps or DIGITS_QPS + images_qps
    capacity_qps = executors * max(_items_per_s(offer) for offer in images if offer.accuracy == best)
    return Plan(
        rate_qps=rate,
        seconds=seconds or queries / rate,
        image_share=min(0.5, images_qps / rate),
        overload_qps=OVERLOAD * capacity_qps,
        overload_slo_ms=slo_ms(OVERLOAD_SLO, dearest_s * 1_000),
        chaos=chaos,
        seed=0,
    )


def resident(catalog: Catalog, heard: Heard) -> list[Offer]:
    """What some executor can run now. Raises: NotReady if a task of the demo is not among it."""
    lanes = {(lane.variant, telemetry.pool) for telemetry in heard.ready for lane in telemetry.lanes}
    offers = [offer for offer in catalog.offers() if (offer.variant, offer.pool) in lanes]
    for task in (DIGITS, IMAGES):
        if not any(offer.task == task for offer in offers):
            raise NotReady(f"no executor runs a variant for {task}; the executors' logs say what they refused")
    return offers


def _items_per_s(offer: Offer) -> float:
    """At the batch size that suits it best."""
    return max(batch / offer.latency.p50_us[batch] for batch in range(1, offer.latency.batch_max + 1)) * 1e6


class Demo:
    """One run on a stack that is up."""

    def __init__(self, stack: Stack, loaded: Loaded, console: Console) -> None:
        self._stack = stack
        self._executors = loaded.settings.up.executors
        self._console = console
        self._ledger = Ledger()
        self._behind_s = 0.0
        self._material = Material()

    def run(self, heard: Heard, *, queries: int, rate_qps: float | None, seconds: float | None, chaos: bool) -> Report:
        """Warm up, load, overload, wait; `heard` is the fleet when it was ready."""
        began = time.monotonic()
        offers = resident(topic.read(self._stack.kafka), heard)
        plan = calibrate(
            offers, executors=self._executors, queries=queries, rate_qps=rate_qps, seconds=seconds, chaos=chaos
        )
        mix = Mix(self._material, offers, rng=np.random.default_rng(plan.seed))
        batches = Batches(self._ports)
        with Load(self._stack.kafka, self._ledger, run=secrets.token_hex(3)) as load, self._progress() as progress:
            batches.start()
            self._warm(load, mix, progress, offers)
            self._steady(load, mix, progress, plan)
            self._overload(load, mix, progress, plan)
            progress.phase = "waiting for the last answers"
            load.wait(PATIENCE_S)
            batches.look()
        batches.stop()
        assert self._stack.supervisor is not None
        restarts = {process.name: process.restarts for process in self._stack.supervisor.running()}
        return report(
            self._ledger, batches=batches.reasons(), restarts=restarts, seconds=time.monotonic() - began,
            behind_s=self._behind_s,
        )  # fmt: skip

    def _warm(self, load: Load, mix: Mix, progress: Progress, offers: Sequence[Offer]) -> None:
        progress.phase = "warming up"
        floors = sorted({offer.accuracy for offer in offers if offer.task == DIGITS})
        for _ in range(WARM_ROUNDS * self._executors):
            for floor in floors:
                load.send(mix.digit(floor=floor), "warm-up")
            load.send(mix.image(on_miss=OnMiss.REJECT), "warm-up")
        load.wait(PATIENCE_S)

    def _steady(self, load: Load, mix: Mix, progress: Progress, plan: Plan) -> None:
        progress.phase = f"steady, {plan.rate_qps:.0f}/s, {plan.image_share:.0%} of it images"
        timer = threading.Timer(plan.seconds * KILLED_AT, self._kill)
        if plan.chaos:
            timer.start()
        try:
            behind = load.at_rate(
                lambda: mix.draw(image_share=plan.image_share), rate_qps=plan.rate_qps, seconds=plan.seconds,
                phase="steady",
            )  # fmt: skip
        finally:
            timer.cancel()
        self._behind_s = max(self._behind_s, behind)
        load.wait(PATIENCE_S)

    def _overload(self, load: Load, mix: Mix, progress: Progress, plan: Plan) -> None:
        """All ask for the best accuracy; half of them take less rather than nothing."""
        progress.phase = f"overload, {plan.overload_qps:.0f} images/s, twice what the executors can do at best accuracy"
        turns = itertools.cycle((OnMiss.REJECT, OnMiss.DEGRADE))
        behind = load.at_rate(
            lambda: mix.image(slo_ms=plan.overload_slo_ms, floor=mix.floor_max, on_miss=next(turns)),
            rate_qps=plan.overload_qps, seconds=OVERLOAD_S, phase="overload",
        )  # fmt: skip
        self._behind_s = max(self._behind_s, behind)

    def _kill(self) -> None:
        assert self._stack.supervisor is not None
        pid = self._stack.supervisor.kill("executor-1")
        self._console.print(f"kill -9 {pid}: executor-1 is gone, in the middle of its work", highlight=False)

    def _ports(self) -> Iterator[tuple[int, int]]:
        assert self._stack.supervisor is not None
        for process in self._stack.supervisor.running():
            if process.name.startswith("executor") and process.pid is not None:
                yield process.pid, process.port

    def _hint(self) -> str:
        pid = next((pid for pid, _port in self._ports()), None)
        return f"try `kill -9 {pid}` in another terminal: an executor dies, and no query is lost" if pid else ""

    @contextmanager
    def _progress(self) -> Iterator[Progress]:
        progress = Progress(self._console, self._ledger, hint=self._hint)
        if not self._console.is_terminal:
            self._console.print(self._hint(), highlight=False)
        progress.start()
        try:
            yield progress
        finally:
            progress.stop()
