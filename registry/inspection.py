"""What an artifact is and what it answers, found out in a child process: the part on this side."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from registry import confined
from registry.archives import BadArtifact
from registry.confined import CheckFailed, Failure, Limits
from registry.dataset import BadDataset
from registry.programs import UnsafeArtifact

Array = np.ndarray[Any, Any]
Run = Callable[[Array], Array]
Kind = Literal["onnx", "pt2", "torchscript", "factory"]

ANSWERS, PROGRAM = "answers.f32", "program.pt2"
SAMPLES = 8  # items whose answers are compared between frameworks and batch sizes
MEASURED_MAX = 2_000  # items of the validation set that the registered accuracy is measured on
ANSWERS_BYTES_MAX = 512 << 20
BATCH = 32
_ERRORS = {error.code: error for error in (BadArtifact, UnsafeArtifact, BadDataset, CheckFailed)}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is to look at. Everything named here stands in its folder, but for `factory`."""

    kind: Kind
    file: str  # the artifact; for a factory its state dict
    name: str  # how the operator calls it, for messages
    limits: Limits
    bytes_max: int
    dataset: str = ""  # of a validation set; empty: inputs are drawn
    factory: str = ""
    input_name: str = ""
    output_name: str = ""
    input_shape: tuple[int, ...] = ()
    input_dtype: str = ""


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. Shapes: `input_shape` is one item; `answers` (n, *output), n items of the validation set."""

    input_name: str
    input_shape: tuple[int, ...]
    input_dtype: str
    output_name: str
    answers_shape: tuple[int, ...]
    program: bool = False  # whether a `.pt2` was made that is to be kept instead of the file
    versions: dict[str, str] = {}


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """In the child: a loaded artifact. `item_shape` has None where the file leaves a size open."""

    input_name: str
    item_shape: tuple[int | None, ...]
    input_dtype: str
    output_name: str
    run: Run
    versions: dict[str, str]
    program: bool = False


class Result(msgspec.Struct, frozen=True, kw_only=True):
    findings: Findings | None = None
    failure: Failure | None = None


def inspect(request: Request, folder: Path) -> tuple[Findings, Array]:
    """Load, check and run what stands in `folder`; its answers to the validation set come beside the findings.

    Raises: BadArtifact, UnsafeArtifact, BadDataset; CheckFailed if this installation cannot look at it.
    """
    raw = confined.run(
        "registry.inspecting", msgspec.json.encode(request), folder=folder, about=request.name, limits=request.limits
    )
    try:
        result = msgspec.json.decode(raw, type=Result)
    except msgspec.MsgspecError as odd:
        raise BadArtifact(f"{request.name}: the process that loaded it answered nonsense: {odd}") from odd
    if result.failure is not None:
        raise _ERRORS.get(result.failure.code, BadArtifact)(result.failure.message)
    if result.findings is None:
        raise BadArtifact(f"{request.name}: the process that loaded it answered nothing")
    return result.findings, _answers(folder / ANSWERS, result.findings.answers_shape, request.name)


def _answers(path: Path, shape: tuple[int, ...], name: str) -> Array:
    size_bytes = path.stat().st_size if path.is_file() else -1
    if min(shape, default=0) < 1 or size_bytes > ANSWERS_BYTES_MAX or math.prod(shape) * 4 != size_bytes:
        raise BadArtifact(f"{name}: its answers {shape} are not what was written, {size_bytes} bytes")
    return np.frombuffer(path.read_bytes(), dtype=np.float32).reshape(shape)
