"""A catalogue as a file: one registry record a line, as JSON, for planner and simulator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from registry.catalog import Catalog
from registry.records import Record, decode, encode
from registry.tables.curve import catalogue
from registry.tables.read import BadTable


def save(records: Iterable[Record], path: Path) -> int:
    """Write records, replacing the file when all are written; returns how many. Raises: OSError."""
    lines = [encode(record) for record in records]
    fresh = path.with_name(path.name + ".part")
    fresh.write_bytes(b"\n".join(lines) + b"\n")
    fresh.replace(path)
    return len(lines)


def load(path: Path) -> Catalog:
    """The catalogue of a file. Raises: BadTable on a line that is no record, OSError."""
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            records.append(decode(line))
        except msgspec.MsgspecError as bad:
            raise BadTable(f"{path}, line {number}: {bad}") from bad
    return catalogue(records)
