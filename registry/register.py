"""Register a model: check all of it, put its files into the store, and give the records to publish.

Nothing is put anywhere and nothing is published unless everything is in order.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from registry import dataset, dataset_folder, inspection, manifest
from registry.archives import BadArtifact
from registry.confined import Limits
from registry.dataset import BadDataset, Dataset
from registry.dataset_folder import Preparing
from registry.inspection import PROGRAM, Array, Findings, Kind, Request
from registry.records import Accuracy, Artifact, Framework, Model, Record, Step, Task, Variant
from registry.register_checks import accuracy_of, check_labels, compare
from registry.registration import Registration
from streams.blobs import LocalStore, Store, name_of
from streams.errors import ClientFault

K = 3  # of the best classes, unless the operator says otherwise
FORMATS: dict[Kind, str] = {"onnx": "onnx", "pt2": "pt2", "torchscript": "pt2", "factory": "pt2"}

Steps = Callable[[Model, Array], None]
"""Tries the model's steps before and after on some of its answers; raises what is wrong with them."""

Prepares = Callable[[Registration], Preparing]
"""How the files of a validation folder become items; raises what must be said for that."""


class VersionTaken(ClientFault):
    """This version of this model is registered with other files."""

    code = "version_taken"


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """What to publish, and what to tell. `differences` are between frameworks, the largest of any answer."""

    model: Model
    task: Task
    variants: tuple[Variant, ...]
    notes: tuple[str, ...] = ()
    differences: dict[str, float] = {}

    @property
    def records(self) -> list[Record]:
        return [self.task, self.model, *self.variants]


class _Looked(msgspec.Struct, frozen=True, kw_only=True):
    file: Path
    format: str
    findings: Findings
    answers: Array


def register(
    registration: Registration,
    store: Store | None,
    *,
    steps: Steps,
    prepares: Prepares | None = None,
    known: Mapping[str, Model] | None = None,
    limits: Limits | None = None,
    bytes_max: int = 4_000_000_000,
    progress: Callable[[str], None] = lambda _what: None,
) -> Registered:
    """Check one model and keep its files; `store` None only checks.

    `known` are the versions of this model that are registered; without `prepares` no validation set can be a folder.
    The registration comes from `registration.read` or `registration.checked`, whose paths are absolute.
    Raises: BadArtifact, UnsafeArtifact, BadDataset, VersionTaken, what `steps` raises; CheckFailed if this
            installation cannot look at it; StoreUnreachable.
    """
    kinds = registration.kinds()
    with tempfile.TemporaryDirectory(prefix="headrace-register-") as made:
        work = Path(made)
        progress("reading the validation set")
        items, kept = _validation(registration, work, prepares)
        looked: dict[Framework, _Looked] = {}
        for framework, (kind, path) in kinds.items():
            progress(f"loading and running {Path(path).name}")
            looked[framework] = _look(registration, kind, Path(path), kept, work / framework, limits, bytes_max)
        first = next(iter(looked.values()))
        differences = compare({name: one.answers for name, one in looked.items()}, registration.tolerance)
        notes: list[str] = []
        accuracy = accuracy_of(registration, first.answers, items, notes)
        check_labels(registration, first.answers, items)
        model = _model(registration, looked, accuracy)
        steps(model, first.answers[:2])
        check_version(model, known or {})
        if store is not None:
            progress("keeping its files")
            model = _stored(model, looked, store, kept)
    return Registered(
        model=model, task=_task(registration, model), variants=tuple(manifest.variants(model)), notes=tuple(notes),
        differences=differences,
    )  # fmt: skip


def _validation(
    registration: Registration, work: Path, prepares: Prepares | None
) -> tuple[Dataset | None, Path | None]:
    """The set, and our own copy of its file: what is checked is what is kept, whoever writes to the original."""
    if not registration.validation:
        return None, None
    kept, given = work / "validation.npz", Path(registration.validation)
    if given.is_dir() and prepares is not None:
        dataset_folder.pack(given, kept, labels=registration.labels, preparing=prepares(registration))
    else:
        _copy(given, kept, 2 * dataset.BYTES_MAX, BadDataset)
    return dataset.load(kept), kept


def _look(
    registration: Registration, kind: Kind, path: Path, items: Path | None, folder: Path, limits: Limits | None,
    bytes_max: int,
) -> _Looked:  # fmt: skip
    folder.mkdir()
    own = folder / f"artifact{path.suffix}"
    _copy(path, own, bytes_max, BadArtifact)
    if items is not None:
        (folder / items.name).hardlink_to(items)
    request = Request(
        kind=kind, file=own.name, name=path.name, limits=limits or Limits(), bytes_max=bytes_max,
        dataset="" if items is None else items.name, factory=registration.factory, input_name=registration.input.name,
        output_name=registration.output.name, input_shape=registration.input.shape,
        input_dtype=registration.input.dtype,
    )  # fmt: skip
    findings, answers = inspection.inspect(request, folder)
    file = folder / PROGRAM if findings.program else own
    return _Looked(file=file, format=FORMATS[kind], findings=findings, answers=answers)


def _copy(source: Path, target: Path, bytes_max: int, error: type[BadArtifact | BadDataset]) -> None:
    try:
        if not source.is_file():
            raise error(f"{source} is no file; name one, from the folder of the model.toml")
        if (size_bytes := source.stat().st_size) > bytes_max:
            raise error(f"{source.name} has {size_bytes} bytes > {bytes_max}; [artifacts] size_max_bytes allows more")
        shutil.copyfile(source, target)
    except OSError as failed:
        raise error(f"{source} cannot be copied: {failed.strerror or failed}") from failed


def _model(registration: Registration, looked: Mapping[Framework, _Looked], accuracy: Accuracy) -> Model:
    findings = next(iter(looked.values())).findings
    for framework, other in looked.items():
        if (other.findings.input_shape, other.findings.input_dtype) != (findings.input_shape, findings.input_dtype):
            raise BadArtifact(
                f"{framework} takes {list(other.findings.input_shape)} {other.findings.input_dtype}, and "
                f"{next(iter(looked))} {list(findings.input_shape)} {findings.input_dtype}: both must take the same"
            )
    answers = next(iter(looked.values())).answers
    classes = int(np.prod(answers.shape[1:]))
    top = Step(name="top-k", params={"k": min(K, classes)}) if answers.ndim == 2 else Step(name="tensor")
    artifacts = {
        framework: Artifact(
            path=str(one.file), sha256=_sha256(one.file), bytes=one.file.stat().st_size, format=one.format
        )
        for framework, one in looked.items()
    }
    model = Model(
        name=registration.name, task=registration.task, version=registration.version, accuracy=accuracy,
        input_name=findings.input_name, input_shape=findings.input_shape, input_dtype=findings.input_dtype,
        output_name=findings.output_name, preprocess=registration.preprocess,
        postprocess=registration.postprocess or top,
        labels=registration.labels, artifacts={str(framework): artifact for framework, artifact in artifacts.items()},
    )  # fmt: skip
    return model if model.version else msgspec.structs.replace(model, version=content_version(model))


def content_version(model: Model) -> str:
    """Twelve hex digits that change with anything that changes its answers: the same model registered twice is one."""
    digests = sorted((framework, artifact.sha256) for framework, artifact in model.artifacts.items())
    said = (digests, model.labels, model.preprocess, model.postprocess, model.output_name, model.task)
    return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()[:12]


def check_version(model: Model, known: Mapping[str, Model]) -> None:
    """Raises: VersionTaken if that version is registered with other files."""
    there = known.get(model.version)
    if there is not None and _files(there) != _files(model):
        raise VersionTaken(
            f"{model.name} {model.version} is registered with other files; give this one another version, or none, "
            "which makes one from its content"
        )


def _files(model: Model) -> Sequence[tuple[str, str]]:
    return sorted((framework, artifact.sha256) for framework, artifact in model.artifacts.items())


def _stored(model: Model, looked: Mapping[Framework, _Looked], store: Store, items: Path | None) -> Model:
    """With its files in the store, and a path where that is a folder: the work folder is about to go."""
    artifacts = {}
    for framework, one in looked.items():
        artifact = model.artifacts[framework]
        digest = store.put_file(one.file)
        assert digest == f"sha256:{artifact.sha256}", f"{digest} was put, {artifact.sha256} was checked"
        artifacts[str(framework)] = placed(artifact, store)
    if items is not None and store.put_file(items) != f"sha256:{model.accuracy.dataset}" and model.accuracy.dataset:
        raise BadDataset("the validation set was changed while it was looked at")
    return msgspec.structs.replace(model, artifacts=artifacts)


def placed(artifact: Artifact, store: Store) -> Artifact:
    """With its path in a store that is a folder; elsewhere it has none."""
    path = str(store.root.resolve() / name_of(f"sha256:{artifact.sha256}")) if isinstance(store, LocalStore) else ""
    return msgspec.structs.replace(artifact, path=path)


def _task(registration: Registration, model: Model) -> Task:
    derived = manifest.task_of(model)
    return msgspec.structs.replace(
        derived,
        accepts=registration.accepts or derived.accepts,
        slo_ms_default=registration.slo_ms_default,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
