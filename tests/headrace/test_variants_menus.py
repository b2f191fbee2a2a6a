"""A whole menu that is remembered: only as long as all of it would be found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.variants import menus
from headrace.variants.generating import Generated
from headrace.variants.menus import menu_of
from registry.records import Model
from tests.executors.models import FEATURES, WEIGHT, write_onnx
from tests.headrace.variants import ONNX, of_files

pytestmark = [pytest.mark.models, pytest.mark.usefixtures("here")]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    x = np.random.default_rng(0).uniform(-1, 1, (60, FEATURES)).astype("float32")
    np.savez(tmp_path / "set.npz", x=x, y=(x @ WEIGHT).argmax(axis=1))
    (tmp_path / "items").mkdir()
    for number, item in enumerate(x):
        np.save(tmp_path / "items" / f"{number}.npy", item)
    lines = [f"{number}.npy,{('zero', 'one', 'two')[int((item @ WEIGHT).argmax())]}" for number, item in enumerate(x)]
    (tmp_path / "items" / "labels.csv").write_text("\n".join(lines))
    return of_files(onnxruntime=write_onnx(tmp_path / "tiny.onnx"))


def asked(model: Model, tmp_path: Path, **changes: Any) -> Generated:
    fields: dict[str, Any] = {"out": tmp_path / "kept", "validation": tmp_path / "set.npz", "machine": ONNX, **changes}
    return menu_of(model, **fields)


def test_menu_of_the_same_files_is_remembered(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without generation, items or children; another set, rule or way is another menu."""
    first = asked(model, tmp_path)
    monkeypatch.setattr(menus, "generate_variants", lambda *_args, **_fields: pytest.fail("it was known"))
    again = asked(model, tmp_path)
    with pytest.raises(pytest.fail.Exception):
        asked(model, tmp_path, ways=("onnxruntime",))
    with pytest.raises(pytest.fail.Exception):
        asked(model, tmp_path, validation=tmp_path / "items")

    assert (first.ran, again.ran) == (3, 0)
    assert (again.variants, again.refused, again.drops) == (first.variants, first.refused, first.drops)


def test_menu_with_something_left_or_lost_is_found_out_again(model: Model, tmp_path: Path) -> None:
    """What had no time is tried the next time, and a converted file that is gone is made again."""
    left = asked(model, tmp_path, left_s=lambda: 0.0)
    whole = asked(model, tmp_path)
    for file in (tmp_path / "kept" / "artifacts").iterdir():
        file.unlink()
    mended = asked(model, tmp_path)

    assert len(left.left) == 3
    assert (whole.left, whole.ran, mended.ran) == ((), 3, 2)
    assert mended.variants == whole.variants


def test_menu_of_a_folder_of_items_is_measured_on_them(model: Model, tmp_path: Path) -> None:
    """As `headrace generate --validation TASK=DIR` has it; the labels are those of the model."""
    made = asked(model, tmp_path, validation=tmp_path / "items")

    assert made.accuracy is not None
    assert (made.accuracy.n, made.accuracy.value) == (48, 1.0)
    assert made.ran == 3
