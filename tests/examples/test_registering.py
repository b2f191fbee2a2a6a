"""The built digit models can be registered from their own `model.toml`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples.digits.build import NAMES
from examples.registering import describe
from registry import dataset, registration


@pytest.mark.models
def test_describe_gives_each_model_its_file_and_one_validation_set(tmp_path: Path) -> None:
    """Read by the same code as an operator's own; the set is what no model was trained on."""
    for name in NAMES:
        (tmp_path / name).mkdir()
    described = [registration.read(path) for path in describe(tmp_path)]
    written = (tmp_path / "digits.npz").stat().st_mtime_ns
    describe(tmp_path)

    assert [one.name for one in described] == list(NAMES)
    assert {one.validation for one in described} == {str(tmp_path / "digits.npz")}
    assert described[0].artifacts == (
        str(tmp_path / NAMES[0] / "model.onnx"),
        str(tmp_path / NAMES[0] / "model.pt2"),
    )
    held = dataset.load(tmp_path / "digits.npz")
    assert (held.x.shape, held.x.dtype, held.n) == ((899, 8, 8), np.dtype("float32"), 899)
    assert (tmp_path / "digits.npz").stat().st_mtime_ns == written
    assert not list(tmp_path.glob("**/.*"))
