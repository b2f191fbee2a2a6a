"""A folder of files and labels.csv: what is taken of it, and what is refused in which words."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from registry import dataset, dataset_folder
from registry.dataset import BadDataset
from registry.dataset_folder import Labelled, Preparing, digest, pack, sample
from streams.errors import BadPayload

LABELS = ("cat", "dog", "emu")
Fill = Callable[..., Path]


def item(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    if not data.startswith(b"item"):
        raise BadPayload("neither npy, JSON, JPEG nor PNG")
    return np.full(4, data[4], dtype=np.float32)


PREPARING = Preparing(shape=(4,), dtype="float32", item=item)


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """A folder with these lines of labels.csv, and with these files (`item` and a number)."""

    def folder(*lines: str, files: int = 3, name: str = "set") -> Path:
        made = tmp_path / name
        (made / "sub").mkdir(parents=True, exist_ok=True)
        for number in range(files):
            (made / f"{number}.bin").write_bytes(b"item" + bytes([number % 256]))
        (made / "labels.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return made

    return folder


@pytest.mark.parametrize("header", [(), ("file,label",)])
def test_pack_gives_a_validation_set(fill: Fill, tmp_path: Path, header: tuple[str, ...]) -> None:
    """Items in the order of their names, classes by the model's labels; a header may stand first."""
    folder = fill(*header, "2.bin,cat", "0.bin,emu", "", "1.bin, dog")

    assert pack(folder, tmp_path / "a.npz", labels=LABELS, preparing=PREPARING) == 3
    found = dataset.load(tmp_path / "a.npz")
    assert found.x.tolist() == [[0.0] * 4, [1.0] * 4, [2.0] * 4]
    assert found.y.tolist() == [2, 1, 0]


def test_pack_of_the_same_files_is_the_same_bytes(fill: Fill, tmp_path: Path) -> None:
    """Whatever the order of the lines and the times of the files; another label, or other content, is another set."""
    one, other = fill("0.bin,cat", "1.bin,dog"), fill("1.bin,dog", "0.bin,cat", name="other")
    for path, folder in ((tmp_path / "a.npz", one), (tmp_path / "b.npz", other)):
        pack(folder, path, labels=LABELS, preparing=PREPARING)
    before = digest(one, LABELS)

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert before == digest(other, LABELS)
    assert digest(fill("0.bin,cat", "1.bin,emu"), LABELS) != before
    (other / "0.bin").write_bytes(b"item!")
    assert digest(other, LABELS) != before


@pytest.mark.parametrize(
    ("lines", "labels", "told"),
    [
        (["0.bin,cat", "9.bin,dog"], LABELS, "line 2: '9.bin' is no file of this folder"),
        (["0.bin,cow"], LABELS, "line 1: label 'cow' is not among the model's: cat, dog, emu"),
        (["0.bin,cat"], (), "label 'cat' is no number of a class; give the model `labels`"),
        (["0.bin,-1"], (), "label '-1' is no number"),
        (["0.bin,cat", "0.bin,dog"], LABELS, "'0.bin' stands there twice"),
        (["../labels.csv,cat"], LABELS, "'../labels.csv' is no file of this folder"),
        (["sub,cat"], LABELS, "'sub' is no file of this folder"),
        (["0.bin"], LABELS, "line 1 has 1 columns; wanted: file,label"),
        (['"0.bin,cat'], LABELS, "is no CSV in UTF-8"),
        (["file,label"], LABELS, "labels.csv is empty"),
        ([], LABELS, "labels.csv is empty"),
        (["9.bin,x"] * 9, LABELS, "; and more"),
    ],
)
def test_sample_of_what_is_wrong_names_line_and_cure(
    fill: Fill, lines: list[str], labels: tuple[str, ...], told: str
) -> None:
    """Before any file is read."""
    with pytest.raises(BadDataset) as refused:
        sample(fill(*lines), labels)

    assert told in refused.value.message


def test_folder_without_labels_says_what_is_wanted(tmp_path: Path) -> None:
    """A folder of images alone is the likeliest mistake."""
    with pytest.raises(BadDataset, match=r"has no labels\.csv; it says what each file is, one a line: file,label"):
        sample(tmp_path, LABELS)


def test_pack_unreadable_file_is_named(fill: Fill, tmp_path: Path) -> None:
    """With the words of whoever could not read it; no set is left to be used by mistake."""
    folder = fill("0.bin,cat", "1.bin,dog")
    (folder / "1.bin").write_bytes(b"GIF89a")

    with pytest.raises(BadDataset, match=r"1\.bin: neither npy, JSON, JPEG nor PNG"):
        pack(folder, tmp_path / "a.npz", labels=LABELS, preparing=PREPARING)


def test_sample_draws_the_same_of_many_across_classes(fill: Fill) -> None:
    """Files of one class stand together; a smaller sample is part of a larger one, and no line goes unchecked."""
    lines = [f"{n}.bin,{LABELS[n // 100]}" for n in range(300)]
    folder = fill(*lines, files=300)
    few, more = (sample(folder, LABELS, at_most=count) for count in (30, 60))

    assert few == sample(fill(*reversed(lines), files=300), LABELS, at_most=30)
    assert len(few) == 30
    assert set(few) < set(more)
    assert {each.label for each in few} == {0, 1, 2}
    with pytest.raises(BadDataset, match="line 301"):
        sample(fill(*lines, "gone,cat", files=300), LABELS, at_most=1)


def test_pack_takes_the_memory_of_one_item(fill: Fill, tmp_path: Path) -> None:
    """A hundred items of a megabyte each are written with a few of them in memory at any time."""
    wide = Preparing(
        shape=(1 << 18,), dtype="float32", item=lambda data: np.full(1 << 18, data[4], dtype=np.float32)
    )  # fmt: skip
    folder = fill(*(f"{n}.bin,cat" for n in range(100)), files=100)
    tracemalloc.start()
    pack(folder, tmp_path / "a.npz", labels=LABELS, preparing=wide)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (tmp_path / "a.npz").stat().st_size > 100 << 20
    assert peak < 10 << 20


def test_pack_takes_no_more_than_fits(fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the bytes of prepared items, not by those of the files."""
    monkeypatch.setattr(dataset_folder, "BYTES_MAX", 2 * 16)

    assert (
        pack(fill("0.bin,cat", "1.bin,cat", "2.bin,cat"), tmp_path / "a.npz", labels=LABELS, preparing=PREPARING) == 2
    )
    assert len(sample(fill("0.bin,cat"), LABELS)) == 1
    assert Labelled("0.bin", 0) in sample(fill("0.bin,cat"), LABELS)
