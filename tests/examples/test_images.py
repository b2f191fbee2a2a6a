"""The image models, from JPEG bytes to names, on scikit-learn's two photographs.

China shows a palace of the Summer Palace's kind, which is a class. The flower is a dahlia, which is none:
Lite 0 calls it a daisy, Lite 1 and 2 name the honeycomb that its petals look like.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import sklearn.datasets
from numpy.typing import NDArray
from PIL import Image

from examples.images.build import SIZES, TASK
from examples.store import ModelArtifact
from executors.images import decode_image
from registry.records import Model

pytestmark = pytest.mark.models

PHOTOGRAPHS = Path(sklearn.datasets.__file__).parent / "images"


def pixels(model: Model, data: bytes) -> NDArray[np.float32]:
    params = {name: value for name, value in model.preprocess.params.items() if name != "layout"}
    return decode_image(data, **params)


def best(model: Model, data: bytes) -> list[str]:
    """The five likeliest names."""
    session = onnxruntime.InferenceSession(model.artifacts["onnxruntime"].path)
    (rows,) = session.run([model.output_name], {model.input_name: pixels(model, data)[np.newaxis]})
    return [model.labels[index] for index in rows[0].argsort()[::-1][:5]]


@pytest.mark.parametrize("name", SIZES)
def test_china_is_a_palace(built: dict[str, ModelArtifact], name: str) -> None:
    """First of a thousand for all three sizes, with other buildings behind it."""
    names = best(built[name].model, (PHOTOGRAPHS / "china.jpg").read_bytes())

    assert names[0] == "palace"
    assert {"castle", "bell tower", "monastery"} & set(names[1:])


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("efficientnet-lite0", "daisy"),
        ("efficientnet-lite1", "honeycomb"),
        ("efficientnet-lite2", "honeycomb"),
    ],
)
def test_flower_without_a_class_of_its_own(built: dict[str, ModelArtifact], name: str, first: str) -> None:
    """A dahlia is none of the thousand; these are the answers that the weights do give, and a sensible miss."""
    assert first in best(built[name].model, (PHOTOGRAPHS / "flower.jpg").read_bytes())


@pytest.mark.parametrize("name", SIZES)
def test_big_jpeg_decoded_at_a_fraction_gets_the_same_answer(built: dict[str, ModelArtifact], name: str) -> None:
    """Six times larger, which the decoder halves while reading: still a palace."""
    with Image.open(PHOTOGRAPHS / "china.jpg") as image:
        large = image.resize((image.width * 6, image.height * 6), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    large.save(file, "JPEG", quality=92)

    assert best(built[name].model, file.getvalue())[0] == "palace"


def test_manifests_say_where_the_accuracy_comes_from(built: dict[str, ModelArtifact]) -> None:
    """Published figures are never passed off as measured; names are a thousand, each its own."""
    models = [built[name].model for name in SIZES]

    assert [model.accuracy.value for model in models] == [0.751, 0.767, 0.776]
    for model in models:
        assert model.task == TASK
        assert (model.accuracy.provenance, model.accuracy.n) == ("published", 0)
        assert "tensorflow/tpu" in model.accuracy.source
        assert len(set(model.labels)) == 1000
