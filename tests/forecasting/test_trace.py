"""Files of counts: what is read, and what is refused with the line."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest

from forecasting import trace
from forecasting.errors import BadTrace
from forecasting.trace import parse, read


@pytest.mark.parametrize("suffix", [".txt", ".txt.xz", ".txt.gz"])
def test_read_one_count_a_line(tmp_path: Path, suffix: str) -> None:
    """Plain and packed, with and without an empty line at the end."""
    path = tmp_path / f"counts{suffix}"
    data = b"5\n0\n7.5\n\n"
    packed = {".txt": data, ".txt.xz": lzma.compress(data), ".txt.gz": gzip.compress(data)}
    path.write_bytes(packed[suffix])

    assert read(path).column(None).tolist() == [5, 0, 7.5]


def test_read_a_table_with_times() -> None:
    """Seconds that are left out are unknown; without a name the columns are summed."""
    found = parse("Time,a,b\n100,1,2\n101,3,4\n104,5,6\n")

    assert found.start == 100
    np.testing.assert_array_equal(found.column("b"), [2, 4, np.nan, np.nan, 6])
    np.testing.assert_array_equal(found.column(None), [3, 7, np.nan, np.nan, 11])


def test_read_a_table_with_a_total() -> None:
    """The column of that name is the total, and not added again."""
    assert parse("second,a,total\n0,1,5\n1,2,6\n").column(None).tolist() == [5, 6]


def test_read_a_table_without_times() -> None:
    """A line a second, with a byte order mark."""
    assert parse("rps\n1\n2\n").column(None).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 is empty"),
        ("1\n2\nthree\n", "line 3: 'three' is not a count"),
        ("1\n-2\n", "line 2: '-2' is not a count"),
        ("1\n\n3\n", "line 2: '' is not a count"),
        ("1\nnan\n", "line 2: 'nan' is not a count"),
        ("1\ninf\n", "line 2: 'inf' is not a count"),
        ("1,2\n3,4\n", "line 1: a table needs a header"),
        ("time\n1\n", "line 1: needs one column of times at most"),
        ("a,a\n1,2\n", "unlike names"),
        ("time,a\n", "no counts after the header"),
        ("time,a\n1,2,3\n", "line 2: 3 cells, the header has 2"),
        ("time,a\n1,x\n", "line 2: 'x' is not a count"),
        ("time,a\n1.5,1\n", "line 2: '1.5' is not a time in whole seconds"),
        ("time,a\n2,1\n2,1\n", "line 3: time 2 does not follow 2"),
        ("time,a\n0,1\n9e9,1\n", "2 lines over 9000000001 seconds"),
    ],
)
def test_parse_malformed_says_where(text: str, message: str) -> None:
    """One sentence, with the line."""
    with pytest.raises(BadTrace) as caught:
        parse(text)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.xz", b"5\n6\n", "format not supported"),
        ("a.gz", b"5\n6\n", "Not a gzipped file"),
        ("a.xz", lzma.compress(b"5\n" * 9_000)[:-20], "ended before"),
        ("a.txt", b"\xff\xfe5\x00", "not text: byte 0 is 0xff"),
    ],
)
def test_read_refuses_what_is_not_such_a_file(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    """Not packed as its name says, cut off, not text."""
    (tmp_path / name).write_bytes(data)

    with pytest.raises(BadTrace, match=message):
        read(tmp_path / name)


def test_read_refuses_no_file_and_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is unpacked without a bound."""
    with pytest.raises(BadTrace, match="No such file"):
        read(tmp_path / "none.txt")
    monkeypatch.setattr(trace, "BYTES_MAX", 1 << 20)
    (tmp_path / "bomb.xz").write_bytes(lzma.compress(b"1\n" * (1 << 20)))
    with pytest.raises(BadTrace, match="more than 1 MiB"):
        read(tmp_path / "bomb.xz")


def test_column_that_is_not_there() -> None:
    """The message lists those that are."""
    with pytest.raises(BadTrace, match="no column 'c'; there are a, b"):
        parse("a,b\n1,2\n").column("c")
