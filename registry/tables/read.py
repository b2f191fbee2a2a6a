"""Profile tables from files: each recognised by its columns, all made into curves, with a list of what was cleaned."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import msgspec

from registry.tables import infadapter, infless, neuron, proteus
from registry.tables.cleaning import Cleaning, Table
from registry.tables.curve import Curve, slug
from streams.errors import ClientFault

BYTES_MAX = 64 << 20
WORDS = 5  # of a row of INFless


class BadTable(ClientFault):
    """A file is no profile table that is known; the message says which columns are."""

    code = "bad_table"


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    curves: tuple[Curve, ...]
    cleaned: tuple[Cleaning, ...]


def found(folder: Path) -> list[Path]:
    """The files of a folder that are profile tables by their columns, and price files; the others are left."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and _known(path)]


def read(paths: Iterable[Path]) -> Imported:
    """Read tables; price files may stand anywhere among them.

    Raises: BadTable on a file of another form, or one that cannot be read.
    """
    files = [(path, _rows(path)) for path in paths]
    usd_hour: dict[str, float] = {}
    tables = []
    for path, rows in sorted(files, key=lambda file: not _of_prices(file[1])):
        try:
            if _of_prices(rows):
                usd_hour |= neuron.prices(_named(rows))
            else:
                tables.append(_table(path, rows, usd_hour))
        except (ValueError, KeyError, IndexError) as bad:
            raise BadTable(f"{path}: {type(bad).__name__}: {bad}") from bad
    return _together(tables)


def _of_prices(rows: list[list[str]]) -> bool:
    return bool(rows) and set(rows[0]) == neuron.PRICE_COLUMNS


def _table(path: Path, rows: list[list[str]], usd_hour: dict[str, float]) -> Table:
    columns = set(rows[0]) if rows else set()
    if columns >= proteus.COLUMNS:
        return proteus.read(_named(rows), path.name)
    if columns >= infadapter.COLUMNS:
        return infadapter.read(_named(rows), path.name)
    if columns >= neuron.COLUMNS:
        return neuron.read(_named(rows), path.name, usd_hour)
    words = [row[0].split() for row in rows if row]
    if words and all(len(row) == WORDS for row in words):
        return infless.read(words, path.name)
    raise BadTable(
        f"{path}: not a table of Proteus ({', '.join(sorted(proteus.COLUMNS))}), InfAdapter "
        f"({', '.join(sorted(infadapter.COLUMNS))}), AWS Neuron ({', '.join(sorted(neuron.COLUMNS))}) or INFless "
        f"({WORDS} words a line)"
    )


def _known(path: Path) -> bool:
    try:
        rows = _rows(path)
        return _of_prices(rows) or bool(_table(path, rows, {}).curves)
    except (ClientFault, ValueError, KeyError, IndexError):
        return False


def _together(tables: list[Table]) -> Imported:
    """One curve for each variant and pool, and an accuracy for those whose architecture has one elsewhere."""
    cleaned = [each for table in tables for each in table.cleaned.values()]
    curves: dict[str, Curve] = {}
    twice = Cleaning(
        table="all", rule="the same variant in two tables: the points of both, where both have one the last file's"
    )
    for table in tables:
        for curve in table.curves:
            if curve.variant in curves:
                twice.rows.append(curve.variant)
                curve = _joined(curves[curve.variant], curve)
            curves[curve.variant] = curve
    known = {slug(c.architecture): c for c in curves.values() if c.accuracy is not None}
    borrowed = Cleaning(table="all", rule="accuracy taken from another table of the same architecture")
    for name, curve in curves.items():
        other = known.get(slug(curve.architecture))
        if curve.accuracy is None and other is not None:
            borrowed.rows.append(f"{name} from {other.source}")
            curves[name] = msgspec.structs.replace(
                curve, accuracy=other.accuracy, source=f"{curve.source}, accuracy {other.source}"
            )
    none = Cleaning(table="all", rule="no accuracy anywhere: 0, so that no query with a floor goes there")
    none.rows.extend(name for name, curve in curves.items() if curve.accuracy is None)
    cleaned += [each for each in (twice, borrowed, none) if each.rows]
    return Imported(curves=tuple(curves.values()), cleaned=tuple(cleaned))


def _joined(one: Curve, other: Curve) -> Curve:
    """The points of both, the second's where both have one: tables are split by batch size."""
    merged = {point.batch: point for point in (*one.points, *other.points)}
    return msgspec.structs.replace(other, points=tuple(merged[batch] for batch in sorted(merged)))


def _named(rows: list[list[str]]) -> list[dict[str, str]]:
    header, *body = rows
    return [dict(zip(header, row, strict=False)) for row in body if any(row)]


def _rows(path: Path) -> list[list[str]]:
    try:
        if path.stat().st_size > BYTES_MAX:
            raise BadTable(f"{path} has {path.stat().st_size} bytes; at most {BYTES_MAX} are read")
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as bad:
        raise BadTable(f"{path} cannot be read as text: {bad}") from bad
