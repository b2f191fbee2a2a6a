"""The folder of built models: what is there already, and how a new one gets in whole or not at all.

`<out>/<model>/` holds `model.onnx`, `model.pt2` and `model.json`, which is the model's registry record with
artifact paths relative to it. This module imports no framework, so that finding everything built is quick.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import msgspec

from registry.records import Artifact, Model
from streams.folders import cache_folder

Progress = Callable[[str, float], None]
"""Told what is being built and which share (0..1) of this task's models is done."""

FILES = {"onnxruntime": "model.onnx", "torch": "model.pt2"}
MANIFEST = "model.json"


class ModelArtifact(msgspec.Struct, frozen=True, kw_only=True):
    """A built model: its folder, and its record with absolute artifact paths, ready to register."""

    folder: Path
    model: Model


def complete(
    out: Path,
    names: Sequence[str],
    *,
    version: str,
    make: Callable[[list[str], Path], Iterator[Model]],
) -> list[ModelArtifact]:
    """All named models in `out`, in this order; `make` is called only if some are missing or out of date.

    `make` gets their names and an empty folder. For each it puts both artifact files there and yields the
    record; the files are moved away before it goes on. What was finished before a crash stays finished.
    """
    found = {name: find(out, name, version=version) for name in names}
    if None in found.values():
        with _staging(out) as staged:
            # Looked at again: another builder may have been at work while this one waited.
            found = {name: find(out, name, version=version) for name in names}
            for model in make([name for name, artifact in found.items() if artifact is None], staged):
                found[model.name] = _publish(model, staged, out)
    built = [artifact for artifact in found.values() if artifact is not None]
    assert len(built) == len(names), f"{len(built)} of {len(names)} models were made"
    return built


def find(out: Path, name: str, *, version: str) -> ModelArtifact | None:
    """The model if it is there, of this version, and its files are the ones that its manifest describes."""
    try:
        built = load(out / name)
    except (FileNotFoundError, msgspec.DecodeError):
        return None  # never built, or its build was cut short: both mean "build it"
    if built.model.version != version or built.model.artifacts.keys() != FILES.keys():
        return None
    for artifact in built.model.artifacts.values():
        path = Path(artifact.path)
        if not path.is_file() or sha256(path) != artifact.sha256:
            return None
    return built


def load(folder: Path) -> ModelArtifact:
    """Read one model's manifest, without looking at its artifacts.

    Raises: FileNotFoundError if there is none; msgspec.DecodeError if it is not a model record.
    """
    model = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Model)
    absolute = {
        framework: msgspec.structs.replace(artifact, path=str(folder.resolve() / artifact.path))
        for framework, artifact in model.artifacts.items()
    }
    return ModelArtifact(folder=folder, model=msgspec.structs.replace(model, artifacts=absolute))


def recipe_version(sources: Mapping[str, Path], distributions: tuple[str, ...]) -> str:
    """Twelve hex digits that change whenever the code or the libraries that make a model change.

    A distribution that is not installed counts as `absent`: what is built already can still be found.
    """
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(f"{name}\0".encode() + sources[name].read_bytes() + b"\0")
    for distribution in distributions:
        try:
            version = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            version = "absent"
        digest.update(f"{distribution}=={version}\0".encode())
    return digest.hexdigest()[:12]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def default_out() -> Path:
    """`models` in this user's cache."""
    return cache_folder() / "models"


def _publish(model: Model, staged: Path, out: Path) -> ModelArtifact:
    """Move the staged files into the model's folder; the manifest goes last and makes them count.

    Between the first move and the last the old manifest is gone, so that no reader pairs it with new files.
    """
    folder = out / model.name
    folder.mkdir(exist_ok=True)
    artifacts = {framework: Artifact(path=file, sha256=sha256(staged / file)) for framework, file in FILES.items()}
    record = msgspec.structs.replace(model, artifacts=artifacts)
    manifest = staged / "manifest"  # not yet `model.json`: readers look for that name in every folder
    manifest.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    (folder / MANIFEST).unlink(missing_ok=True)
    for file in FILES.values():
        (staged / file).replace(folder / file)
    manifest.replace(folder / MANIFEST)
    return load(folder)


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """An empty folder beside the models, for one builder at a time.

    A second builder waits for the first, then finds its work done. The kernel frees the lock of a killed
    builder, and what that one left in the staging folder is removed here.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        staged = out / ".staging"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)
