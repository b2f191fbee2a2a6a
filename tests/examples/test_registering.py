"""The built models can be registered from their own `model.toml`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples.digits.build import NAMES
from examples.registering import describe
from registry import dataset, registration
from registry.records import Accuracy, Step, encode
from registry.registration import Published
from tests.executors.models import model


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


def test_describe_an_image_model_says_what_its_manifest_says(tmp_path: Path) -> None:
    """Without a validation set: the accuracy stays a published one, and quotes in labels stay quotes."""
    crop = {"size": 224, "crop_padding": 32, "mean": 127.0, "std": 128.0, "layout": "NCHW"}
    built = model(
        name="efficientnet-lite0", task="image-classification", labels=("a 'b'", 'c "d"', "e\\f"),
        accuracy=Accuracy(value=0.751, provenance="published", source="a paper"),
        preprocess=Step(name="image-crop-resize", params=crop), postprocess=Step(name="top-k", params={"k": 5}),
    )  # fmt: skip
    for name in (*NAMES, built.name):
        (tmp_path / name).mkdir()
    (tmp_path / built.name / "model.json").write_bytes(encode(built))

    own = registration.read(describe(tmp_path)[-1])

    assert (own.name, own.task, own.labels) == (built.name, built.task, built.labels)
    assert (own.preprocess, own.postprocess) == (built.preprocess, built.postprocess)
    assert own.accuracy == Published(value=0.751, source="a paper")
    assert own.validation == ""
