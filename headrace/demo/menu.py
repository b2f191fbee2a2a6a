"""What the demo serves: the example models, registered as `headrace register` does, then generated and profiled here.

A bounded part of the menu: one core (each executor has one), onnxruntime in fp32 and int8, with `--torch` also torch in
fp32 and bf16. `headrace generate` tries the rest. All that is found out is kept in the user's cache.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import msgspec
from rich.console import Console

from examples.images.build import TASK as IMAGES
from examples.registering import describe
from executors.hardware import usable_cores
from headrace.profiling import profile_registered
from headrace.registering import register_all
from headrace.settings import Loaded
from headrace.variants.folder import default_out
from headrace.variants.machine import this_machine
from headrace.variants.offering import Asked, offered, records_of
from registry import registration, topic
from registry.records import Record, RefusedVariant, Variant
from registry.register import Registered
from registry.registration import Registration
from streams.settings import KafkaSettings

GENERATE_S, PROFILE_S = 75.0, 45.0  # at most; what is left then, the next start goes on with
TORCH_TIMES = 3.0  # as long, since importing torch and loading its programs takes seconds each time
EACH_S = 1.0  # of measuring a variant: half of the sizes, the others predicted
AT_ONCE = 2  # models that are checked or tried beside each other: each may take gigabytes


class Menu:
    """Registers the models of a folder of built examples, and a menu of variants for them."""

    def __init__(self, loaded: Loaded, models: Path, ways: Sequence[str], console: Console) -> None:
        self._loaded, self._models, self._ways, self._console = loaded, models, ways, console
        self._began = time.monotonic()
        self._torch = any(way.startswith("torch") for way in ways)
        self._times = TORCH_TIMES if self._torch else 1.0
        self._at_once = min(AT_ONCE, usable_cores())

    def register(self, kafka: KafkaSettings) -> list[Record]:
        """Everything that is published for the demo, but for profiles.

        Raises: what `headrace register`, `generate` and `profile` raise.
        """
        self._took()
        made = self._registered(kafka)
        records = self._generated(kafka, made)
        variants = [record for record in records if isinstance(record, Variant)]
        own = self._loaded.settings.executor
        done = profile_registered(
            kafka, own, [variant.name for variant in variants], seconds=PROFILE_S * self._times, each_s=EACH_S,
            console=self._console,
        )  # fmt: skip
        known = len(variants) - len(done.profiles) - len(done.refused) - len(done.left)
        left = f", {len(done.left)} left to the executors" if done.left else ""
        self._tell(f"profiles: {len(done.profiles)} measured now, {known} known{left} ({self._took()})")
        for reason in done.refused.values():
            self._tell(f"not profiled: {reason}")
        return records

    def _registered(self, kafka: KafkaSettings) -> list[Registered]:
        with self._console.status("registering models") as status:
            described = [self._described(path) for path in describe(self._models)]
            made = register_all(
                described, loaded=self._loaded, kafka=kafka, at_once=self._at_once,
                progress=lambda what: status.update(f"registering models: {what}"),
            )  # fmt: skip
        measured = sum(each.model.accuracy.provenance == "measured" for each in made)
        self._tell(f"registered {len(made)} models, {measured} of them measured on a validation set ({self._took()})")
        for each in made:
            for note in each.notes:
                self._tell(f"note on {each.model.name}: {note}")
        return made

    def _described(self, path: Path) -> Registration:
        """Without `--torch` its artifacts stay out: to load and run eight of them takes a minute."""
        own = registration.read(path)
        files = [file for file in own.artifacts if self._torch or Path(file).suffix == ".onnx"]
        return msgspec.structs.replace(own, artifacts=tuple(files))

    def _generated(self, kafka: KafkaSettings, made: Sequence[Registered]) -> list[Record]:
        settings = self._loaded.settings.artifacts
        asked = Asked(
            out=default_out(), pictured={IMAGES: _photographs()}, machine=this_machine(cores=1), ways=self._ways,
            budget_s=GENERATE_S * self._times, at_once=self._at_once,
        )  # fmt: skip
        records: list[Record] = []
        left: list[str] = []
        for _, found in offered([each.model for each in made], asked, settings, self._console):
            records += records_of(found, settings)
            left += found.left
        topic.publish(kafka, records)
        refused = sum(isinstance(record, RefusedVariant) for record in records)
        told = f", no time for {len(left)}" if left else ""
        self._tell(f"variants: {len(records) - refused} hold, {refused} refused{told} ({self._took()})")
        return records

    def _tell(self, line: str) -> None:
        self._console.print(line, highlight=False)

    def _took(self) -> str:
        """Since the last time it was asked for."""
        began, self._began = self._began, time.monotonic()
        return f"{self._began - began:.0f} s"


def _photographs() -> Path:
    """Those that scikit-learn ships; to import it takes seconds."""
    spec = find_spec("sklearn")
    assert spec is not None, "the digits were read with it"
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "images"
