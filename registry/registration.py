"""What an operator says of a model: `model.toml`, or the same in Python; nothing of it is believed unchecked.

name = "digits-cnn"
task = "digit-classification"
artifacts = ["model.onnx", "model.pt2"]   # of one model: at most one for each framework
validation = "digits.npz"                 # arrays x and y, or a folder; or, without, [accuracy] with value and source
labels = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from registry.archives import BadArtifact
from registry.inspection import Kind
from registry.manifest import NAME, BadManifest
from registry.records import Framework, Step

FILE_BYTES_MAX = 16 << 20
KINDS: dict[str, Kind] = {
    ".onnx": "onnx", ".pt2": "pt2", ".ts": "torchscript", ".torchscript": "torchscript", ".jit": "torchscript",
}  # fmt: skip
_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the model takes, where the artifact leaves it open. `shape` is one item, without the batch axis."""

    name: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = ""


class Output(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which output counts, if there are several."""

    name: str = ""


class Published(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An accuracy that somebody else measured, and where it stands; for models without a validation set."""

    value: float
    source: str


class Registration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of one model, as its operator describes it.

    `factory` is `package.module:callable` of this installation, which makes the network whose state dict is the only
    artifact. `tolerance` is how far the answers of two frameworks may lie apart, in the units of the output.
    """

    name: str
    task: str
    artifacts: tuple[str, ...]
    version: str = ""  # empty: the first digits of a sha256 over all of it
    validation: str = ""
    labels: tuple[str, ...] = ()
    factory: str = ""
    input: Input = Input()
    output: Output = Output()
    preprocess: Step = Step(name="tensor")
    postprocess: Step | None = None  # None: the three best classes, where there are classes
    accuracy: Published | None = None
    tolerance: float = 1e-3
    accepts: tuple[str, ...] = ()
    slo_ms_default: float | None = None

    def kinds(self) -> dict[Framework, tuple[Kind, str]]:
        """The artifacts by the framework that will run them. Raises: BadArtifact."""
        found: dict[Framework, tuple[Kind, str]] = {}
        for path in self.artifacts:
            kind = "factory" if self.factory else KINDS.get(Path(path).suffix)
            if kind is None:
                known = ", ".join(sorted(KINDS))
                raise BadArtifact(f"{path}: of its ending one of {known} is wanted; a state dict needs `factory`")
            framework: Framework = "onnxruntime" if kind == "onnx" else "torch"
            if framework in found:
                raise BadArtifact(f"{found[framework][1]} and {path} are both for {framework}; register one of them")
            found[framework] = (kind, path)
        return found


def read(path: Path) -> Registration:
    """A `model.toml`, its paths made absolute from its own folder.

    Raises: BadManifest with what is wrong in which field.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise BadManifest(f"{path} has more than {FILE_BYTES_MAX} bytes")
        registration = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Registration)
    except OSError as failed:
        raise BadManifest(f"{path} cannot be read: {failed.strerror}") from failed
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise BadManifest(f"{path} is not TOML: {broken}") from broken
    except msgspec.ValidationError as bad:  # msgspec names the field, as `$.labels`
        raise BadManifest(f"{path}: {bad}") from bad
    return checked(registration, path.parent, str(path))


def checked(registration: Registration, folder: Path, where: str) -> Registration:
    """With absolute paths, if what can be said without opening a file is in order.

    Raises: BadManifest with every problem at once.
    """
    if problems := list(_wrong(registration)):
        raise BadManifest("; ".join(f"{where}: {problem}" for problem in problems))
    return msgspec.structs.replace(
        registration,
        artifacts=tuple(_absolute(path, folder) for path in registration.artifacts),
        validation=registration.validation and _absolute(registration.validation, folder),
    )


def _absolute(path: str, folder: Path) -> str:
    return str((folder / Path(path).expanduser()).resolve())


def _wrong(own: Registration) -> Iterator[str]:
    for field in ("name", "task"):
        if not NAME.match(value := getattr(own, field)):
            yield f"{field} {value!r} must be 1 to 100 of a-z, 0-9, '.', '_', '-', letter or digit first"
    if own.version and not _VERSION.fullmatch(own.version):
        yield f"version {own.version!r} must be 1 to 64 of letters, digits, '.', '_', '-', letter or digit first"
    if not own.artifacts or not all(own.artifacts):
        yield "artifacts is empty: there is nothing to run"
    if own.factory and (len(own.artifacts) != 1 or not _FACTORY.fullmatch(own.factory)):
        yield f"factory {own.factory!r} must be package.module:callable, and its state dict the only artifact"
    if not own.validation and own.accuracy is None:
        yield (
            "neither validation (an .npz with x and y, or a folder with labels.csv) nor [accuracy] with value and "
            "source says how good it is"
        )
    if own.accuracy is not None and not 0.0 <= own.accuracy.value <= 1.0:
        yield f"accuracy.value {own.accuracy.value:g} is outside 0 to 1"
    if own.accuracy is not None and not own.accuracy.source:
        yield "accuracy.source is empty: say who measured it, and where that stands"
    if len(set(own.labels)) != len(own.labels):
        yield "labels holds one twice"
    if own.input.shape and min(own.input.shape) < 1:
        yield f"input.shape {own.input.shape} must be positive, without the batch axis"
    if not 0.0 < own.tolerance < 1.0:
        yield f"tolerance {own.tolerance:g} is outside 0 to 1"
    if own.slo_ms_default is not None and not own.slo_ms_default > 0:
        yield f"slo_ms_default {own.slo_ms_default:g} must be more than 0"
