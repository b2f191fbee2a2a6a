"""Models and state as bytes, and back: NumPy's archive without pickles, and one JSON text inside it.

The text is the value with each array replaced by its name, so a file can be looked into with `numpy.load`. Loading
runs no code of the file and checks version, features and shapes; a file of another version is refused, not guessed at.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any, TypeVar

import msgspec
import numpy as np

from forecasting.errors import BadForecasters
from forecasting.features import NAMES
from forecasting.forecaster import Models, State

VERSION = 1
HEADER = "header"
BYTES_MAX = 256 << 20  # of the file; what it unpacks to is bounded by ARRAY_MAX
ARRAY_MAX = 512 << 20

Value = TypeVar("Value", Models, State)


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    """What stands beside the value; `features` are those that the trees and lines were fitted to."""

    version: int
    kind: str
    features: tuple[str, ...]
    value: msgspec.Raw


def dump_models(models: Models) -> bytes:
    return _dump("models", models)


def load_models(data: bytes) -> Models:
    """Raises: BadForecasters."""
    return _load("models", data, Models)


def dump_state(state: State) -> bytes:
    """Compressed: 50 to 200 kB a class with traffic."""
    return _dump("state", state)


def load_state(data: bytes) -> State:
    """Raises: BadForecasters."""
    return _load("state", data, State)


def _dump(kind: str, value: Models | State) -> bytes:
    arrays: dict[str, np.ndarray[Any, Any]] = {}

    def name_of(array: Any) -> str:
        assert isinstance(array, np.ndarray), type(array)
        arrays[name := f"a{len(arrays)}"] = array
        return name

    text = msgspec.json.encode(value, enc_hook=name_of)
    header = _Header(version=VERSION, kind=kind, features=NAMES, value=msgspec.Raw(text))
    arrays[HEADER] = np.frombuffer(msgspec.json.encode(header), dtype=np.uint8)
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=False, **arrays)
    return out.getvalue()


def _load(kind: str, data: bytes, type_: type[Value]) -> Value:
    try:
        arrays = _arrays(data)
        header = msgspec.json.decode(arrays[HEADER].tobytes(), type=_Header)
        if (header.version, header.kind) != (VERSION, kind):
            raise BadForecasters(f"{header.kind} of version {header.version}, wanted {kind} of version {VERSION}")
        if header.features != NAMES:
            raise BadForecasters("made for other features than this version computes: train again")
        return msgspec.json.decode(header.value, type=type_, dec_hook=lambda _type, name: arrays[name])
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, msgspec.MsgspecError, AssertionError) as why:
        raise BadForecasters(f"not stored {kind}: {why}") from why


def _arrays(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    if len(data) > BYTES_MAX:
        raise BadForecasters(f"{len(data)} bytes, more than {BYTES_MAX}")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(info.file_size for info in archive.infolist())
        if size > ARRAY_MAX:
            raise BadForecasters(f"{size} bytes unpacked, more than {ARRAY_MAX}")
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
