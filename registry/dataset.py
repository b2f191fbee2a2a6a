"""The validation set of a model: an `.npz` with `x`, the items as the model takes them, and `y`, the right classes.

What the file claims is compared with what is there before memory of the claimed size is asked for, and nothing in it
is ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from streams.errors import ClientFault

Array = np.ndarray[Any, Any]

BYTES_MAX = 2 << 30  # of x and y together, unpacked
HEADER_BYTES_MAX = 1024  # numpy writes 118 for an ordinary array; see streams/payloads.py
CHUNK_BYTES = 1 << 20
NAMES = ("x", "y")


class BadDataset(ClientFault):
    """The validation set cannot be used; the message says what to change in the file."""

    code = "bad_dataset"


class Dataset(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Items and their classes, or a part of them.

    Shapes: `x` (n, *item), of the dtype in the file; `y` (n,) int64, >= 0. Both are read-only.
    `sha256` is that of the whole file, in every part of it too; `part` says which part this is, empty: the whole.
    """

    x: Array
    y: Array
    sha256: str
    part: str = ""

    @property
    def n(self) -> int:
        return len(self.y)

    def split(self, calibration: int, seed: int = 0) -> tuple[Dataset, Dataset]:
        """`calibration` items drawn by `seed`, to choose ranges from, and all the others, to measure accuracy on.

        Disjoint, together everything, and the same on every machine and with every version of numpy.
        Raises: BadDataset if nothing would be left to measure on.
        """
        assert calibration >= 0
        if calibration >= self.n:
            raise BadDataset(f"{calibration} items for calibration of {self.n} leave none to measure accuracy on")
        # Raw words of a bit generator, whose stream numpy promises to keep; `permutation` may change.
        order = np.argsort(np.random.PCG64(seed).random_raw(self.n), kind="stable")
        chosen, rest = np.sort(order[:calibration]), np.sort(order[calibration:])
        return self._at(chosen, f"calibration {calibration} seed {seed}"), self._at(
            rest, f"all but calibration {calibration} seed {seed}"
        )

    def _at(self, indices: Array, part: str) -> Dataset:
        return Dataset(x=_kept(self.x[indices]), y=_kept(self.y[indices]), sha256=self.sha256, part=part)


def load(path: Path, *, bytes_max: int = BYTES_MAX) -> Dataset:
    """Read and check a validation set; `np.savez(path, x=x, y=y)` writes one.

    Raises: BadDataset.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            x, y = _arrays(file, path.name, bytes_max)
    except OSError as failed:
        raise BadDataset(f"{path}: {failed.strerror or failed}") from failed
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as broken:
        raise BadDataset(f"{path.name} is no .npz, or is damaged: {broken}; np.savez(path, x=x, y=y) writes one") from (
            broken
        )
    _check(x, y, path.name)
    return Dataset(x=_kept(x), y=_kept(y.astype(np.int64)), sha256=sha256)


def _arrays(file: IO[bytes], name: str, bytes_max: int) -> tuple[Array, Array]:
    with zipfile.ZipFile(file) as archive:
        members = archive.namelist()
        if missing := [f"{key}.npy" for key in NAMES if members.count(f"{key}.npy") != 1]:
            raise BadDataset(f"{name} must hold {' and '.join(missing)} once; it holds {members[:8]}")
        claimed = sum(archive.getinfo(f"{key}.npy").file_size for key in NAMES)
        if claimed > bytes_max:
            raise BadDataset(f"{name}: x and y have {claimed} bytes > {bytes_max}; a sample of the items will do")
        x, y = (_array(archive, f"{key}.npy", name) for key in NAMES)
    return x, y


def _array(archive: zipfile.ZipFile, member: str, name: str) -> Array:
    size_bytes = archive.getinfo(member).file_size
    with archive.open(member) as opened:
        beginning = io.BytesIO(opened.read(12 + HEADER_BYTES_MAX))
        try:
            version = np.lib.format.read_magic(beginning)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran, dtype = read(beginning, max_header_size=HEADER_BYTES_MAX)
        except (ValueError, KeyError) as bad:
            raise BadDataset(f"{name}: {member} is no array of npy version 1 or 2: {bad}") from bad
        if dtype.kind not in "biuf" or dtype.itemsize > 8:
            raise BadDataset(f"{name}: {member} has dtype {dtype}; use booleans, integers or floats up to 64 bits")
        start, count = beginning.tell(), math.prod(shape)
        if size_bytes - start != count * dtype.itemsize or min(shape, default=1) < 0:
            raise BadDataset(
                f"{name}: {member} claims {shape} of {dtype}, which is {count * dtype.itemsize} bytes, and has "
                f"{size_bytes - start}"
            )
        flat = np.empty(count, dtype)  # filled where it stays: the set may be as large as the memory allows
        there = _fill(flat.data.cast("B"), beginning.getvalue()[start:], opened) if count else 0
    if there != count * dtype.itemsize:
        raise BadDataset(f"{name}: {member} ends after {there} bytes of {count * dtype.itemsize}")
    array = flat.reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(array.astype(dtype.newbyteorder("="), copy=False))


def _fill(room: memoryview, first: bytes, rest: IO[bytes]) -> int:
    """How many bytes of the room are filled with these and with what follows."""
    room[: len(first)] = first
    filled = len(first)
    while filled < len(room) and (chunk := rest.read(min(CHUNK_BYTES, len(room) - filled))):
        room[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    return filled


def _check(x: Array, y: Array, name: str) -> None:
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise BadDataset(f"{name}: y is {y.shape} of {y.dtype}; it must be one integer class per item, (n,)")
    if x.ndim < 2 or len(x) != len(y) or not len(x):
        raise BadDataset(f"{name}: x {x.shape} and y {y.shape} must be (n, *item) and (n,) with the same n >= 1")
    if y.min() < 0 or y.max() > np.iinfo(np.int32).max:
        raise BadDataset(f"{name}: classes in y reach from {y.min()} to {y.max()}; they begin at 0")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise BadDataset(f"{name}: x holds NaN or infinity in {int((~np.isfinite(x)).sum())} places")


def _kept(array: Array) -> Array:
    array.flags.writeable = False
    return array
