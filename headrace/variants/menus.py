"""What generation found of a model before, by all that it depends on: asking again runs nothing, and draws no items.

The ledger knows single tries, but to ask it takes the items themselves: hundreds of crops of photographs, prepared.
Here the files that they come from are enough.
"""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from headrace.labelled import packed
from headrace.variants.folder import evidence_for
from headrace.variants.generating import Generated, Progress, generate_variants
from headrace.variants.judging import Rules
from headrace.variants.ledger import Ledger, key, whole
from headrace.variants.machine import this_machine
from headrace.variants.photographs import photographs_in
from headrace.variants.work import Limits
from registry import dataset_folder
from registry.generate import Machine
from registry.records import Model

LIBRARIES = ("headrace", "numpy", "onnx", "onnxruntime", "pillow", "torch")


def menu_of(
    model: Model,
    *,
    out: Path,
    validation: Path | None = None,
    samples: Path | None = None,
    rules: Rules | None = None,
    machine: Machine | None = None,
    limits: Limits | None = None,
    ways: Sequence[str] = ("*",),
    left_s: Callable[[], float] = lambda: math.inf,
    tell: Progress | None = None,
) -> Generated:
    """`generate_variants` on a validation set, else on photographs, or what it found of the same before.

    Only what is settled is kept: nothing was left for want of time, and no child was ended by a signal.
    Raises: BadDataset, BadSettings.
    """
    machine, rules, limits = machine or this_machine(), rules or Rules(), limits or Limits()
    ledger = Ledger(out)
    entry = key(
        menu=[_said(model), list(ways)], items=[_labelled(validation, model), _pictured(samples)],
        machine=msgspec.to_builtins(machine, order="deterministic"), rules=msgspec.to_builtins(rules),
        limits=msgspec.to_builtins(limits), versions={name: _version(name) for name in LIBRARIES},
        python=platform.python_version(),
    )  # fmt: skip
    known = ledger.get(entry, Generated)
    if known is not None and _there(known):
        return msgspec.structs.replace(known, ran=0)
    with packed(validation, model) as file:
        items = evidence_for(model, file, samples)
    made = generate_variants(
        model, out=out, items=items, machine=machine, rules=rules, limits=limits, ways=ways, left_s=left_s,
        tell=tell,
    )  # fmt: skip
    if made.settled:
        ledger.put(entry, made)
    return made


def _said(model: Model) -> object:
    """The model without the places of its files."""
    artifacts = {framework: artifact.sha256 for framework, artifact in sorted(model.artifacts.items())}
    return [msgspec.to_builtins(msgspec.structs.replace(model, artifacts={})), artifacts]


def _labelled(validation: Path | None, model: Model) -> str:
    if validation is None:
        return ""
    return dataset_folder.digest(validation, model.labels) if validation.is_dir() else _sha256(validation)


def _pictured(samples: Path | None) -> list[str]:
    files = [] if samples is None else photographs_in(samples)
    return [part for path in files for part in (path.name, _sha256(path))]


def _there(known: Generated) -> bool:
    """Whether every converted file is where it was, and what it was."""
    own = [variant.artifact for variant in known.variants if variant.artifact is not None]
    return all(whole(Path(each.path), each.sha256) for each in own)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
