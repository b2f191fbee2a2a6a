"""A validation set as a folder: files as queries carry them, and `labels.csv`, which says what each of them is.

    file,label
    roses/0001.jpg,rose
    0002.jpg,tulip

The files go into the same `.npz` that operators may give themselves, one after another, so that a folder of any size
takes the memory of one item. At most `ITEMS_MAX` are taken, and `BYTES_MAX` of prepared items; which ones is drawn by
the digests of their names, since files of one class often stand together.
"""

from __future__ import annotations

import csv
import hashlib
import heapq
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec
import numpy as np

from registry.dataset import Array, BadDataset
from streams.errors import ClientFault

LABELS = "labels.csv"
HEADER = ("file", "label")
ROWS_MAX = 2_000_000
FILE_BYTES_MAX = 64 << 20
ITEMS_MAX = 2_000  # as many as accuracy is measured on
BYTES_MAX = 1 << 30
NAMED_MAX = 3  # of what is wrong, in one message
_DATED = (1980, 1, 1, 0, 0, 0)  # the first that an archive can say: the same files make the same archive


class Preparing(msgspec.Struct, frozen=True, kw_only=True):
    """How a file becomes an item of this shape and dtype. `item` raises a ClientFault on what it cannot read."""

    shape: tuple[int, ...]
    dtype: str
    item: Callable[[bytes], Array]


class Labelled(NamedTuple):
    """One file, by its name in the folder, and its class."""

    file: str
    label: int


def pack(folder: Path, target: Path, *, labels: Sequence[str], preparing: Preparing) -> int:
    """Write the folder's items into `target`, an `.npz` of the same bytes for the same files; returns how many.

    `labels` are the model's, in the order of its outputs; without any, `labels.csv` has the numbers of classes.
    Raises: BadDataset that names line, file or label.
    """
    item_bytes = np.dtype(preparing.dtype).itemsize * math.prod(preparing.shape)
    drawn = sample(folder, labels, at_most=max(1, min(ITEMS_MAX, BYTES_MAX // max(1, item_bytes))))
    try:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            _member(archive, "x", (len(drawn), *preparing.shape), preparing.dtype, _items(folder, drawn, preparing))
            _member(archive, "y", (len(drawn),), "int64", (np.array(each.label, "<i8") for each in drawn))
    except OSError as failed:
        raise BadDataset(f"{folder} cannot be put together: {failed.strerror or failed}") from failed
    return len(drawn)


def sample(folder: Path, labels: Sequence[str], *, at_most: int = ITEMS_MAX) -> list[Labelled]:
    """The files to take, by name. Every line of `labels.csv` is checked, also those that are not drawn.

    Raises: BadDataset.
    """
    index = {label: number for number, label in enumerate(labels)}
    wrong: list[str] = []
    kept: list[tuple[int, str, int]] = []  # a heap: the largest digest goes first
    seen: set[bytes] = set()
    for line, file, label in _rows(folder):
        at = f"line {line}"
        number = index.get(label, -1) if labels else _number(label)
        if number < 0:
            wrong.append(f"{at}: label {label!r} is {_unknown(labels)}")
        elif not _inside(file) or not (folder / file).is_file():
            wrong.append(f"{at}: {file!r} is no file of this folder")
        else:
            digest = hashlib.sha256(file.encode()).digest()
            if digest[:8] in seen:
                wrong.append(f"{at}: {file!r} stands there twice")
            seen.add(digest[:8])
            entry = (-int.from_bytes(digest[:8]), file, number)
            heapq.heappush(kept, entry) if len(kept) < at_most else heapq.heappushpop(kept, entry)
        if len(wrong) > NAMED_MAX:
            break
    if wrong:
        more = "; and more" if len(wrong) > NAMED_MAX else ""
        raise BadDataset(f"{folder / LABELS}: {'; '.join(wrong[:NAMED_MAX])}{more}")
    if not kept:
        raise BadDataset(f"{folder / LABELS} is empty; a line for each item is wanted: {','.join(HEADER)}")
    return sorted((Labelled(file, number) for _, file, number in kept), key=lambda each: each.file)


def digest(folder: Path, labels: Sequence[str]) -> str:
    """A sha256 of what `pack` can depend on: names, classes and contents of the files that may be drawn.

    Raises: BadDataset.
    """
    hashed = hashlib.sha256()
    for each in sample(folder, labels):
        hashed.update(f"{each.file}\0{each.label}\0".encode())
        hashed.update(hashlib.sha256(_read(folder, each.file)).digest())
    return hashed.hexdigest()


def _rows(folder: Path) -> Iterator[tuple[int, str, str]]:
    """Line, file and label; a first line of `file,label` says only that."""
    path = folder / LABELS
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.reader(opened, strict=True)
            for count, row in enumerate(rows):
                if count >= ROWS_MAX:
                    raise BadDataset(f"{path} has more than {ROWS_MAX} lines; a sample of them will do")
                if not row or (count == 0 and tuple(part.strip().lower() for part in row) == HEADER):
                    continue
                if len(row) != len(HEADER):
                    raise BadDataset(f"{path}: line {rows.line_num} has {len(row)} columns; wanted: {','.join(HEADER)}")
                yield rows.line_num, row[0].strip(), row[1].strip()
    except FileNotFoundError as missing:
        raise BadDataset(
            f"{folder} has no {LABELS}; it says what each file is, one a line: {','.join(HEADER)}"
        ) from missing
    except OSError as failed:
        raise BadDataset(f"{path} cannot be read: {failed.strerror or failed}") from failed
    except (csv.Error, UnicodeDecodeError) as broken:
        raise BadDataset(f"{path} is no CSV in UTF-8: {broken}") from broken


def _items(folder: Path, drawn: Sequence[Labelled], preparing: Preparing) -> Iterator[Array]:
    for each in drawn:
        try:
            item = preparing.item(_read(folder, each.file))
        except BadDataset:
            raise
        except ClientFault as refused:
            raise BadDataset(f"{folder / each.file}: {refused.message}") from refused
        assert item.shape == preparing.shape, f"{item.shape} is prepared, not {preparing.shape}"
        yield np.ascontiguousarray(item, dtype=np.dtype(preparing.dtype).newbyteorder("<"))


def _member(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: str, rows: Iterator[Array]) -> None:
    described = {"shape": shape, "fortran_order": False, "descr": np.dtype(dtype).newbyteorder("<").str}
    with archive.open(zipfile.ZipInfo(f"{name}.npy", date_time=_DATED), "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, described)
        for row in rows:
            member.write(row.tobytes())


def _read(folder: Path, file: str) -> bytes:
    path = folder / file
    try:
        with path.open("rb") as opened:
            size_bytes = min(os.fstat(opened.fileno()).st_size, FILE_BYTES_MAX)
            data = opened.read(size_bytes + 1)  # Python makes room for as much as is asked for
    except OSError as failed:
        raise BadDataset(f"{path} cannot be read: {failed.strerror or failed}") from failed
    if len(data) > size_bytes:
        raise BadDataset(f"{path} has more than {FILE_BYTES_MAX} bytes, or is being written to")
    return data


def _inside(file: str) -> bool:
    """Whether the name stays in the folder: a set that somebody else made shall not read elsewhere."""
    path = PurePosixPath(file)
    return bool(file) and not path.is_absolute() and ".." not in path.parts and "\0" not in file


def _number(label: str) -> int:
    return int(label) if label.isascii() and label.isdigit() and len(label) < 10 else -1


def _unknown(labels: Sequence[str]) -> str:
    if not labels:
        return "no number of a class; give the model `labels` to use names"
    shown = ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
    return f"not among the model's: {shown}"
