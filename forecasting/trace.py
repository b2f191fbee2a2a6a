"""Files of counts per second: one number a line, or CSV with a header; plain, .xz or .gz."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from forecasting.errors import BadTrace
from forecasting.rows import Floats

BYTES_MAX = 512 << 20  # unpacked: ten years of seconds are 2 GB, and nobody meant that
SECONDS_MAX = 40_000_000
TIMES = ("second", "seconds", "time", "timestamp", "t", "epoch", "date", "datetime")
TOTAL = "total"
GAP_MAX_S = 400 * 86_400


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes: `counts` (t,) a column, queries a second, NaN where the file says nothing; `start`: the first second.

    Units: seconds since the epoch if the file has such times, else since its first line.
    """

    start: int
    counts: dict[str, Floats]

    def column(self, name: str | None) -> Floats:
        """One column; without a name the sum of all, or the column `total`.

        Raises: BadTrace on a name that is not there.
        """
        if name is None:
            name = TOTAL if TOTAL in self.counts else next(iter(self.counts)) if len(self.counts) == 1 else None
        if name is None:
            total: Floats = np.sum(list(self.counts.values()), axis=0)
            return total
        if name not in self.counts:
            raise BadTrace(f"no column {name!r}; there are {', '.join(self.counts)}")
        return self.counts[name]


def read(path: Path) -> Trace:
    """Raises: BadTrace, with the line, on whatever is not such a file."""
    try:
        with _open(path) as file:
            data = file.read(BYTES_MAX + 1)
    except (OSError, EOFError, lzma.LZMAError, gzip.BadGzipFile) as why:
        raise BadTrace(f"{path}: {why}") from why
    if len(data) > BYTES_MAX:
        raise BadTrace(f"{path}: more than {BYTES_MAX >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as why:
        raise BadTrace(f"{path}: not text: byte {why.start} is {data[why.start]:#x}") from None
    return parse(text, name=str(path))


def _open(path: Path) -> IO[bytes]:
    match path.suffix:
        case ".xz":
            return lzma.open(path)
        case ".gz":
            return io.BufferedReader(gzip.open(path))
        case _:
            return path.open("rb")


def parse(text: str, *, name: str = "trace") -> Trace:
    """Of the text of such a file. Raises: BadTrace."""
    first = text.partition("\n")[0].strip()
    if not first:
        raise BadTrace(f"{name}: line 1 is empty")
    if "," not in first and _number(first) is not None:
        return Trace(start=0, counts={"count": _plain(text, name)})
    return _table(text, name)


def _plain(text: str, name: str) -> Floats:
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    try:
        found = np.array(lines, dtype=np.float64)
    except ValueError:
        found = np.array([_count(line, name, n) for n, line in enumerate(lines, 1)])
    wrong = np.flatnonzero(~np.isfinite(found) | (found < 0))
    if len(wrong):
        raise BadTrace(f"{name}: line {wrong[0] + 1}: {lines[wrong[0]].strip()!r} is not a count")
    return found


def _table(text: str, name: str) -> Trace:
    lines = csv.reader(io.StringIO(text))
    header = [cell.strip() for cell in next(lines)]
    times = [k for k, cell in enumerate(header) if cell.lower() in TIMES]
    columns = [k for k in range(len(header)) if k not in times]
    if any(_number(cell) is not None for cell in header):
        raise BadTrace(f"{name}: line 1: a table needs a header with the names of its columns")
    if not columns or len(times) > 1 or len(set(header)) < len(header):
        raise BadTrace(f"{name}: line 1: needs one column of times at most, and columns of counts with unlike names")
    at: list[int] = []
    rows: list[list[float]] = []
    for number, cells in enumerate(lines, 2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise BadTrace(f"{name}: line {number}: {len(cells)} cells, the header has {len(header)}")
        rows.append([_count(cells[k], name, number) for k in columns])
        second = _number(cells[times[0]]) if times else float(len(at))
        if second is None or second != int(second):
            raise BadTrace(f"{name}: line {number}: {cells[times[0]]!r} is not a time in whole seconds")
        if at and int(second) <= at[-1]:
            raise BadTrace(f"{name}: line {number}: time {cells[times[0]]} does not follow {at[-1]}")
        at.append(int(second))
    if not rows:
        raise BadTrace(f"{name}: no counts after the header")
    length = at[-1] - at[0] + 1
    if length > min(SECONDS_MAX, len(at) + GAP_MAX_S):
        raise BadTrace(f"{name}: {len(at)} lines over {length} seconds")
    whole = np.full((length, len(columns)), np.nan)
    whole[np.array(at) - at[0]] = rows
    return Trace(start=at[0], counts={header[k]: whole[:, c] for c, k in enumerate(columns)})


def _count(cell: str, name: str, number: int) -> float:
    value = _number(cell)
    if value is None or value < 0:
        raise BadTrace(f"{name}: line {number}: {cell.strip()!r} is not a count")
    return value


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
