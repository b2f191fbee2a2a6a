"""From a variant to the backend that runs it; libraries are imported only when a variant needs them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from executors.artifacts import Artifacts, Held
from executors.backends.protocol import ArtifactBroken, Backend, BackendMissing
from registry.records import EMULATED, Model, Variant
from registry.store import ArtifactSettings

EXTRA = {"onnxruntime": "onnx", "torch": "torch"}  # framework -> extra of the distribution

_artifacts: Artifacts | None = None
_choosing = threading.Lock()


def use(settings: ArtifactSettings) -> None:
    """Where this process finds artifacts from now on; without it, as the environment says.

    For the process and not an argument: whoever opens a backend, deep in residency or a benchmark, means the same.
    """
    global _artifacts
    with _choosing:
        _artifacts = Artifacts(settings)


def open_backend(variant: Variant, model: Model) -> Backend:
    """The backend of `variant`, its artifact verified, not yet loaded; the file is held while the backend lives.

    Raises: BackendMissing if this installation or machine cannot run it; ArtifactBroken if the file is nowhere, not
            the registered one, or would run code; StoreUnreachable; BadSettings on a stub that cannot be read.
    """
    if variant.framework == EMULATED:
        raise BackendMissing(f"{variant.name} is emulated: only an executor with [executor] emulated = true opens it")
    if variant.framework == "stub":
        from executors.backends.stub import Stub

        return Stub.of(model)
    held = verified(variant, model)
    try:
        backend = _backend(variant)(held.path, variant, model)
    except BaseException:
        held.close()
        raise
    held.until(backend)
    return backend


def verified(variant: Variant, model: Model) -> Held:
    """The file of the variant's own artifact, else of the model's for its framework; its sha256 was compared.

    Raises: ArtifactBroken, StoreUnreachable.
    """
    artifact = variant.artifact or model.artifacts.get(variant.framework)
    if artifact is None:
        raise ArtifactBroken(f"{model.name} has no {variant.framework} artifact; it has {sorted(model.artifacts)}")
    return _here().find(artifact, variant.name)


def _backend(variant: Variant) -> Callable[[Path, Variant, Model], Backend]:
    if variant.hardware != "cpu":
        from executors.backends.on_device import on_device

        return on_device(variant)
    try:
        if variant.framework == "onnxruntime":
            from executors.backends.onnx import Onnx

            return Onnx
        from executors.backends.pytorch import Torch
    except ImportError as error:
        extra = EXTRA[variant.framework]
        raise BackendMissing(
            f'{variant.name}: {variant.framework} cannot be imported ({error}); pip install "headrace[{extra}]"'
        ) from error
    return Torch


def _here() -> Artifacts:
    global _artifacts
    with _choosing:
        if _artifacts is None:
            _artifacts = Artifacts(ArtifactSettings())
        return _artifacts
