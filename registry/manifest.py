"""A folder of model manifests -> records to publish: the models, their tasks, and variants by a plain rule.

`DIR/<model>/model.json` is a model record with artifact paths relative to it; `DIR/tasks.json`, a list of task
records, is optional and wins over what is derived from the models.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast, get_args

import msgspec
import numpy as np

from registry.generate import batch_max, name
from registry.records import EMULATED, Framework, Model, Record, Task, Variant
from streams.errors import ClientFault

MANIFEST, TASKS = "model.json", "tasks.json"
NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,99}$")
TENSORS = ("application/json", "application/x-npy")
IMAGES = ("image/jpeg", "image/png")
RUNNABLE = tuple(sorted({*get_args(Framework)} - {EMULATED}))  # emulated variants come from a fleet file alone


class BadManifest(ClientFault):
    """Manifests that cannot be registered; the message lists every problem with its file and field."""

    code = "bad_manifest"


def read(folder: Path, *, verify: bool = True) -> list[Record]:
    """Everything that a folder describes; `verify` also checks the artifacts' sha256.

    Returns: tasks, then models, then variants.
    Raises:  BadManifest with every problem at once.
    """
    problems: list[str] = []
    models = [model for path in sorted(folder.glob(f"*/{MANIFEST}")) for model in _model(path, problems, verify)]
    tasks = {task.name: task for task in _tasks(folder / TASKS, problems)}
    if not models and not problems:
        problems.append(f"{folder}: no */{MANIFEST} in it; `python -m examples.build --out {folder}` makes some")
    problems += [
        f"{folder}: model {name!r} stands in more than one manifest"
        for name in {model.name for model in models}
        if sum(model.name == name for model in models) > 1
    ]
    if problems:
        raise BadManifest("; ".join(problems))
    for model in models:
        tasks.setdefault(model.task, task_of(model))
    return [*tasks.values(), *models, *(variant for model in models for variant in variants(model))]


def variants(model: Model) -> list[Variant]:
    """One core of a CPU with each framework that there is an artifact for: what needs no conversion."""
    return [
        Variant(
            name=name(model, framework),
            model=model.name,
            version=model.version,
            framework=cast("Framework", framework),
            hardware="cpu",
            width=1,
            batch_max=batch_max(model),
        )
        for framework in sorted(model.artifacts)
        if framework in RUNNABLE
    ]


def task_of(model: Model) -> Task:
    """The task of a model, where nobody described it."""
    images = model.preprocess.name.startswith("image-")
    return Task(name=model.task, accepts=(*IMAGES, *TENSORS) if images else TENSORS)


def _tasks(path: Path, problems: list[str]) -> list[Task]:
    if not path.is_file():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Task])
    except (OSError, msgspec.MsgspecError) as bad:
        problems.append(f"{path}: {bad}")
        return []


def _model(path: Path, problems: list[str], verify: bool) -> list[Model]:
    try:
        model = msgspec.json.decode(path.read_bytes(), type=Model)
    except (OSError, msgspec.MsgspecError) as bad:  # msgspec names the field, as `$.accuracy.value`
        problems.append(f"{path}: {bad}")
        return []
    found = [f"{path}: {problem}" for problem in (*_wrong(model), *_wrong_files(model, path.parent, verify))]
    problems += found
    artifacts = {
        framework: msgspec.structs.replace(artifact, path=str((path.parent / artifact.path).resolve()))
        for framework, artifact in model.artifacts.items()
    }
    return [] if found else [msgspec.structs.replace(model, artifacts=artifacts)]


def _wrong(model: Model) -> Iterable[str]:
    for field in ("name", "task"):
        if not NAME.match(value := getattr(model, field)):
            yield f"{field} {value!r} must be 1 to 100 of a-z, 0-9, '.', '_', '-', letter or digit first"
    if not 0.0 <= model.accuracy.value <= 1.0:
        yield f"accuracy.value {model.accuracy.value:g} is outside 0 to 1"
    if not model.input_shape or min(model.input_shape) < 1:
        yield f"input_shape {model.input_shape} must be positive, without the batch axis"
    try:
        np.dtype(model.input_dtype)
    except TypeError:
        yield f"input_dtype {model.input_dtype!r} is no NumPy type"
    if not model.artifacts:
        yield "artifacts is empty: there is nothing to run"


def _wrong_files(model: Model, folder: Path, verify: bool) -> Iterable[str]:
    for framework, artifact in model.artifacts.items():
        if framework not in RUNNABLE:
            yield f"artifacts.{framework}: the framework is not one of {', '.join(RUNNABLE)}"
            continue
        file = folder / artifact.path
        if not file.is_file():
            yield f"artifacts.{framework}.path {artifact.path!r} does not exist"
        elif verify and (digest := _sha256(file)) != artifact.sha256:
            yield f"artifacts.{framework}.sha256 is {artifact.sha256[:12]}..., the file has {digest[:12]}..."


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
