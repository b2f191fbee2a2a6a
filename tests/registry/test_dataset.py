"""A validation set: what is read, what is refused and why, and parts that never overlap."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry import dataset
from registry.dataset import BadDataset

X = np.arange(60, dtype=np.float32).reshape(10, 2, 3)
Y = np.arange(10) % 3


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def raw(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_load_reads_arrays_and_names_the_file_by_its_content(save: Any, tmp_path: Path) -> None:
    """The sha256 is that of the file, so that anybody can compute it; Fortran order and byte order do not matter."""
    path = tmp_path / "set.npz"
    save(path, x=np.asfortranarray(X.astype(">f4")), y=Y.astype(np.uint8))

    got = dataset.load(path)

    np.testing.assert_array_equal(got.x, X)
    np.testing.assert_array_equal(got.y, Y)
    assert (got.x.dtype, got.y.dtype, got.n) == (np.dtype("float32"), np.dtype("int64"), 10)
    assert got.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match="read-only"):
        got.x[0] = 0


def test_split_is_disjoint_whole_and_repeatable(tmp_path: Path) -> None:
    """Calibration never sees what measures accuracy; the same seed draws the same items for ever."""
    whole = dataset.load(write(tmp_path / "set.npz", x=X, y=Y))

    calibration, measurement = whole.split(4)
    other, _ = whole.split(4, seed=1)

    first = calibration.x[:, 0, 0].tolist()
    assert first == [6.0, 12.0, 18.0, 48.0]
    assert sorted(first + measurement.x[:, 0, 0].tolist()) == X[:, 0, 0].tolist()
    assert other.x[:, 0, 0].tolist() != first
    assert calibration.sha256 == measurement.sha256 == whole.sha256
    assert (calibration.part, measurement.part) == ("calibration 4 seed 0", "all but calibration 4 seed 0")
    for part in (calibration, measurement):
        np.testing.assert_array_equal(part.y, Y[(part.x[:, 0, 0] / 6).astype(int)])


def test_split_that_leaves_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    """The message names both numbers."""
    whole = dataset.load(write(tmp_path / "set.npz", x=X, y=Y))

    with pytest.raises(BadDataset, match="10 items for calibration of 10"):
        whole.split(10)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": X}, r"must hold y\.npy once"),
        ({"x": X, "y": Y[:9]}, "with the same n"),
        ({"x": X[:0], "y": Y[:0]}, "n >= 1"),
        ({"x": X, "y": Y.astype(float)}, "one integer class per item"),
        ({"x": X, "y": Y - 1}, "they begin at 0"),
        ({"x": np.where(X == 7, np.nan, X), "y": Y}, "NaN or infinity in 1 places"),
        ({"x": X.astype(complex), "y": Y}, "dtype complex128"),
    ],
)
def test_load_what_cannot_be_used_says_what_to_change(arrays: dict[str, Any], told: str, tmp_path: Path) -> None:
    """One sentence each, with value and bound."""
    with pytest.raises(BadDataset, match=told):
        dataset.load(write(tmp_path / "set.npz", **arrays))


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return self.mark.mkdir, ()


def test_load_pickle_in_an_array_is_never_unpickled(tmp_path: Path) -> None:
    """An array of objects is a pickle: refused by its dtype."""
    mark = tmp_path / "exploded"
    path = write(tmp_path / "set.npz", x=np.array([Bomb(mark)], dtype=object), y=Y[:1])

    with pytest.raises(BadDataset, match="dtype object"):
        dataset.load(path)

    assert pickle.dumps(Bomb(mark))
    assert not mark.exists()


def test_load_claims_that_do_not_hold_are_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    """A header of a terabyte over a few bytes, and an archive that unpacks to more than may be."""
    header = npy(np.zeros((1, 4), np.float32)).replace(b"(1, 4), }        ", b"(99999999999, 4)}")
    lying = raw(tmp_path / "lying.npz", {"x.npy": header, "y.npy": npy(Y[:1])})
    zeros = tmp_path / "zeros.npz"
    np.savez_compressed(zeros, x=np.zeros((1000, 1000), np.float32), y=np.zeros(1000, np.int64))

    with pytest.raises(BadDataset, match="which is 1599999999984 bytes, and has 16"):
        dataset.load(lying)
    with pytest.raises(BadDataset, match="bytes > 1000000; a sample"):
        dataset.load(zeros, bytes_max=1_000_000)


@pytest.mark.parametrize("damage", ["truncated", "garbage", "absent", "flipped", "not-npy"])
def test_load_damaged_file_ends_in_words(damage: str, tmp_path: Path) -> None:
    """Never a traceback of zipfile's."""
    path = write(tmp_path / "set.npz", x=X, y=Y)
    data = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "garbage":
            path.write_bytes(b"not an archive")
        case "absent":
            path.unlink()
        case "flipped":
            at = data.index(X[5].tobytes())
            path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
        case _:
            raw(path, {"x.npy": b"hello", "y.npy": npy(Y)})

    with pytest.raises(BadDataset):
        dataset.load(path)
