"""The last look at a file of torch's before torch loads it; it may not have come through our registration."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Literal

from executors.backends.protocol import ArtifactBroken
from registry.archives import BadArtifact, check_program, samples
from registry.programs import UnsafeArtifact
from registry.scripts import check_script


def require_harmless(path: Path, form: Literal["pt2", "torchscript"], *, variant: str) -> None:
    """Refuse a file whose loading could run code of whoever made it.

    Raises: ArtifactBroken.
    """
    try:
        if form == "torchscript":
            check_script(path)
        elif not check_program(path):
            _require_tensors(samples(path), path.name)
    except (BadArtifact, UnsafeArtifact) as refused:
        raise ArtifactBroken(f"{variant}: {refused.message}") from refused


def _require_tensors(pickled: bytes, artifact: str) -> None:
    """Example inputs, which the check lets stand and torch would read: only what its restricted loader takes."""
    import torch

    try:
        torch.load(io.BytesIO(pickled), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UnsafeArtifact(f"{artifact}: its example inputs are not plain tensors: {error}") from error
