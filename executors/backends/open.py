"""From a variant to the backend that runs it; libraries are imported only when a variant needs them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from executors.backends.protocol import ArtifactBroken, Backend, BackendMissing
from registry.records import Model, Variant

EXTRA = {"onnxruntime": "onnx", "torch": "torch"}  # framework -> extra of the distribution


def open_backend(variant: Variant, model: Model) -> Backend:
    """The backend of `variant`, its artifact verified, not yet loaded.

    Raises: BackendMissing if this installation or machine cannot run it; ArtifactBroken if the file is absent or
            not the registered one; BadSettings on a stub that cannot be read.
    """
    if variant.framework == "stub":
        from executors.backends.stub import Stub

        return Stub.of(model)
    if variant.hardware != "cpu":
        raise BackendMissing(f"{variant.name}: hardware {variant.hardware!r} has no backend here; cpu has")
    path = verified(variant, model)
    try:
        if variant.framework == "onnxruntime":
            from executors.backends.onnx import Onnx

            return Onnx(path, variant, model)
        from executors.backends.pytorch import Torch
    except ImportError as error:
        extra = EXTRA[variant.framework]
        raise BackendMissing(
            f'{variant.name}: {variant.framework} cannot be imported ({error}); pip install "headrace[{extra}]"'
        ) from error
    return Torch(path, variant, model)


def verified(variant: Variant, model: Model) -> Path:
    """The file of the variant's artifact, whose sha256 is the registered one.

    Raises: ArtifactBroken.
    """
    artifact = variant.artifact or model.artifacts.get(variant.framework)
    if artifact is None:
        raise ArtifactBroken(f"{model.name} has no {variant.framework} artifact; it has {sorted(model.artifacts)}")
    path = Path(artifact.path)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactBroken(f"{model.name}: {path} cannot be read: {error.strerror}") from error
    if digest != artifact.sha256:
        raise ArtifactBroken(f"{model.name}: sha256 of {path.name} is {digest}, registered is {artifact.sha256}")
    return path
