"""The shell of generation: what the menu offers is tried in children, judged, and comes back as records."""

from __future__ import annotations

import contextlib
import itertools
import math
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from headrace.variants import bounded, evidence, judging
from headrace.variants.bounded import Died
from headrace.variants.evidence import Evidence
from headrace.variants.judging import Found, Refusal, Rules
from headrace.variants.ledger import Ledger, key
from headrace.variants.machine import this_machine
from headrace.variants.work import Job, Limits, Try
from registry import precision
from registry.generate import Candidate, Machine, menu, refused
from registry.records import Accuracy, Model, RefusedVariant, Variant

Progress = Callable[[str, float], None]
"""Told what is being tried and which share (0..1) of the menu is done."""


NOT_FOUND = Found(stage="load", reason="its process ended and left no result")


class Generated(msgspec.Struct, frozen=True, kw_only=True):
    """Variants to publish, narrowest first; what was refused; the model's own accuracy, if it was measured.

    `drops`: accuracy lost against fp32 on the same items, by name, of every variant that ran on labelled items,
    refused ones too. `ran`: how many tries were not known from an earlier run. `left`: what there was no time for.
    `settled`: another run would find the same, without a child.
    """

    variants: tuple[Variant, ...]
    refused: tuple[RefusedVariant, ...]
    accuracy: Accuracy | None = None
    drops: dict[str, float] = {}
    ran: int = 0
    left: tuple[str, ...] = ()
    settled: bool = True


def generate_variants(
    model: Model,
    *,
    out: Path,
    items: Evidence | None = None,
    machine: Machine | None = None,
    rules: Rules | None = None,
    limits: Limits | None = None,
    ways: Sequence[str] = ("*",),
    left_s: Callable[[], float] = lambda: math.inf,
    tell: Progress | None = None,
) -> Generated:
    """Try every way on the menu to run `model`, whose artifacts' paths are files here.

    items:  what to judge on (`evidence.from_dataset`, `from_samples`); without, reduced precision is refused.
    out:    the folder of what is known and of converted artifacts; a second run with it only looks up.
    ways:   globs of what stands behind the `/` of a variant's name; the reference is run in any case.
    left_s: how much time is left, asked before each child; a later call goes on with what there was none for.
    Converted artifacts in the records have paths in `out`; whoever publishes puts them into the store.
    """
    found = _Run(
        model,
        Ledger(out),
        out,
        items if items is not None else evidence.without(model),
        machine if machine is not None else this_machine(),
        rules or Rules(),
        limits or Limits(),
        ways,
        left_s,
    )
    return found.generate(tell or (lambda _name, _share: None))


class _Run:
    def __init__(
        self,
        model: Model,
        ledger: Ledger,
        out: Path,
        items: Evidence,
        machine: Machine,
        rules: Rules,
        limits: Limits,
        ways: Sequence[str],
        left_s: Callable[[], float],
    ) -> None:
        self._model, self._ledger, self._out, self._items = model, ledger, out, items
        self._machine, self._rules, self._limits = machine, rules, limits
        self._ways, self._left_s = ways, left_s
        self._digest = items.digest()
        self._ran = 0
        self._left: set[str] = set()
        self._settled = True

        self._found: dict[str, Found] = {}
        self._reference: Try | None = None

    def generate(self, tell: Progress) -> Generated:
        every = menu(self._model, self._machine)
        candidates = [each for each in every if self._wanted(each)]
        left = [each for each in candidates if not each.unsupported]
        with self._arrays() as arrays:
            for first in [each for each in every if not each.unsupported and _may_refer(each)]:
                tell(first.variant.name, 0.0)
                self._try([first], arrays)
                if first in left:
                    left.remove(first)
                found = self._found.get(first.variant.name)
                if found is not None and self._judge(first.variant, found) is None:
                    self._reference = Try(key=self._key(first), variant=first.variant)
                    break
            for _, way in itertools.groupby(left, key=_way):
                each = list(way)
                tell(each[0].variant.name, min(1.0, len(self._found) / len(candidates)))
                self._try(each, arrays)
        tell(self._model.name, 1.0)
        return self._generated(candidates)

    def _try(self, way: Sequence[Candidate], arrays: Path) -> None:
        """Variants of one way to run: those that are not known, in one child."""
        refers = self._reference is None and _may_refer(way[0])
        if self._reference is None and not refers:
            if self._left:  # it would have been one of those
                self._left |= {each.variant.name for each in way}
                return
            lost = Found(stage="load", reason="nothing to compare its answers with: no fp32 variant runs")
            self._found |= {each.variant.name: lost for each in way}
            return
        tries = [Try(key=self._key(each), variant=each.variant) for each in way]
        unknown = [each for each in tries if self._known(each, refers) is None]
        if unknown and (left_s := self._left_s()) > 0:
            died = self._child(way[0], unknown, arrays, refers, left_s)
            if died is not None:
                self._bury(died, unknown)
            self._ran += sum(each.variant.name not in self._left for each in unknown)
        elif unknown:
            self._left |= {each.variant.name for each in unknown}
        for each in tries:
            if each.variant.name not in self._left:
                self._found.setdefault(each.variant.name, self._known(each, refers) or NOT_FOUND)

    def _known(self, each: Try, refers: bool) -> Found | None:
        found = self._ledger.get(each.key, Found)
        if found is None or (refers and found.stage is None and not self._outputs(each.key).is_file()):
            return None
        if found.artifact is None:
            return found
        artifact = self._ledger.located(found.artifact)
        return msgspec.structs.replace(found, artifact=artifact) if Path(artifact.path).is_file() else None

    def _bury(self, died: Died, unknown: Sequence[Try]) -> None:
        """What the child left open: where it died, the reason; behind that, that it was not tried."""
        if died.cut:
            self._left |= {each.variant.name for each in unknown if self._ledger.get(each.key, Found) is None}
            return
        self._settled = self._settled and died.lasting
        found = died.found()
        for index, each in enumerate(unknown):
            if self._ledger.get(each.key, Found) is not None:
                continue
            self._found[each.variant.name] = found
            if died.lasting:
                self._ledger.put(each.key, found)
            if index >= died.at.index:
                found = msgspec.structs.replace(found, reason=f"not tried, as with fewer cores: {died.reason}")

    def _wanted(self, candidate: Candidate) -> bool:
        way = candidate.variant.name.partition("/")[2]
        return any(fnmatchcase(way, glob) for glob in self._ways)

    def _child(self, first: Candidate, tries: Sequence[Try], arrays: Path, refers: bool, left_s: float) -> Died | None:
        referred = tries[0] if refers else self._reference
        assert referred is not None
        with tempfile.TemporaryDirectory(prefix="try-", dir=self._out) as folder:
            job = Job(
                model=self._model,
                tries=tuple(tries),
                ledger=str(self._out),
                limits=self._limits,
                x=str(arrays / "x.npy"),
                y=str(arrays / "y.npy") if self._items.y is not None else "",
                calibration=str(arrays / "calibration.npy") if len(self._items.calibration) else "",
                conversion=self._conversion(first),
                reduce_range=self._machine.reduce_range,
                reference=str(self._outputs(referred.key)),
                refers=refers,
                compile_saves_min=self._rules.compile_saves_min,
            )
            return bounded.run(job, Path(folder), left_s=left_s)

    def _outputs(self, name: str) -> Path:
        return self._out / "outputs" / f"{name}.npy"

    def _conversion(self, candidate: Candidate) -> str:
        """The ledger's entry of the converted artifact; empty where the model's own file is run."""
        if not candidate.converts:
            return ""
        variant = candidate.variant
        return key(
            source=self._model.artifacts[variant.framework].sha256,
            input_name=self._model.input_name,
            precision=variant.precision,
            calibration=self._digest if variant.precision == "int8-static" else "",
            reduce_range=self._machine.reduce_range,
            versions=precision.versions(),
        )

    def _key(self, candidate: Candidate) -> str:
        """The ledger's entry of one try: everything that what is found may depend on."""
        variant, model = candidate.variant, self._model
        return key(
            artifact=model.artifacts[variant.framework].sha256,
            conversion=self._conversion(candidate),
            way=[variant.framework, variant.precision, variant.compiled, variant.hardware],
            size=[variant.width, variant.batch_max],
            interface=[model.input_name, model.input_shape, model.input_dtype, model.output_name],
            items=self._digest,
            reference=self._reference.key if self._reference is not None else "",
            machine=self._machine.kind,
            versions={name: metadata.version(name) for name in (variant.framework, "numpy")},
            python=platform.python_version(),
            limits=msgspec.to_builtins(self._limits),
            compile_saves_min=self._rules.compile_saves_min if variant.compiled else 0,
        )

    def _judge(self, variant: Variant, found: Found) -> Refusal | None:
        reference = self._found[self._reference.variant.name] if self._reference is not None else found
        return judging.judge(variant, self._model, found, reference, self._rules, drawn=self._items.drawn)

    def _generated(self, candidates: Sequence[Candidate]) -> Generated:
        published: list[Variant] = []
        away: list[RefusedVariant] = []
        drops: dict[str, float] = {}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        reference = self._found[self._reference.variant.name] if self._reference is not None else NOT_FOUND
        for each in candidates:
            if each.unsupported:
                away.append(refused(each.variant, self._machine, stage="load", reason=each.unsupported, at=now))
                continue
            if each.variant.name in self._left:
                continue
            found = self._found[each.variant.name]
            if (lost := judging.drop(found, reference)) is not None:
                drops[each.variant.name] = lost
            if (refusal := self._judge(each.variant, found)) is not None:
                away.append(refused(each.variant, self._machine, stage=refusal.stage, reason=refusal.reason, at=now))
            else:
                own = self._accuracy(each.variant, found, reference)
                published.append(msgspec.structs.replace(each.variant, artifact=found.artifact, accuracy=own))
        measured = reference.right is not None and published
        return Generated(
            variants=tuple(published),
            refused=tuple(away),
            accuracy=published[0].accuracy if measured else None,
            drops=drops,
            ran=self._ran,
            left=tuple(each.variant.name for each in candidates if each.variant.name in self._left),
            settled=self._settled and not self._left,
        )

    def _accuracy(self, variant: Variant, found: Found, reference: Found) -> Accuracy | None:
        return judging.accuracy(
            variant, self._model, found, reference, told=self._items.told, dataset=self._items.dataset
        )

    @contextlib.contextmanager
    def _arrays(self) -> Iterator[Path]:
        """The items as files that children map."""
        (self._out / "outputs").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="items-", dir=self._out) as folder:
            arrays: dict[str, Any] = {"x": self._items.x, "y": self._items.y, "calibration": self._items.calibration}
            for name, array in arrays.items():
                if array is not None:
                    np.save(Path(folder) / f"{name}.npy", array)
            yield Path(folder)


def _may_refer(candidate: Candidate) -> bool:
    variant = candidate.variant
    return (variant.precision, variant.width, variant.compiled) == ("fp32", 1, False)


def _way(candidate: Candidate) -> tuple[str, str, str, bool]:
    variant = candidate.variant
    return variant.framework, variant.precision, variant.hardware, variant.compiled
