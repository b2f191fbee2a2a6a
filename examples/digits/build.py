"""Build the digit models: train, export, measure the exported file on the held-out half."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from examples import store
from examples.store import ModelArtifact, Progress
from registry.records import Accuracy, Model, Step

TASK = "digit-classification"
NAMES = ("digits-linear", "digits-mlp-small", "digits-mlp-wide", "digits-cnn", "digits-committee")
"""Cheapest and least accurate first. Repeated from `models`, which needs torch to be read."""

INPUT_NAME, INPUT_SHAPE = "digit", (8, 8)
OUTPUT_NAME = "probabilities"
LABELS = tuple("0123456789")


def build(out: Path, *, progress: Progress | None = None) -> list[ModelArtifact]:
    """All digit models in `out`, cheapest first; trains only what is missing, damaged or out of date."""
    tell = progress or (lambda _name, _share: None)
    version = _version()
    built = store.complete(
        out, NAMES, version=version, make=lambda missing, staged: _make(missing, staged, version, tell)
    )
    tell(NAMES[-1], 1.0)
    return built


def _make(missing: list[str], staged: Path, version: str, tell: Progress) -> Iterator[Model]:
    from examples.digits.models import RUNGS  # torch, which takes seconds to import, only if it is needed
    from examples.export import export

    assert tuple(RUNGS) == NAMES, f"{tuple(RUNGS)} != {NAMES}"
    epochs_all, epochs = sum(RUNGS[name].epochs for name in missing), 0
    for name in missing:
        tell(name, epochs / epochs_all)

        def epoch_done(name: str = name) -> None:
            nonlocal epochs
            epochs += 1
            tell(name, epochs / epochs_all)

        network = RUNGS[name].trained(epoch_done)
        export(network, staged, input_name=INPUT_NAME, input_shape=INPUT_SHAPE)
        yield _record(name, version, _measured(staged / store.FILES["onnxruntime"]))


def _measured(onnx: Path) -> Accuracy:
    """Accuracy of the very file that will be served."""
    import onnxruntime

    from examples.digits.data import SPLIT_SEED, held_out

    images, labels = held_out()
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run([OUTPUT_NAME], {INPUT_NAME: images})
    right = int((probabilities.argmax(axis=1) == labels).sum())
    return Accuracy(
        value=right / len(labels),
        provenance="measured",
        source=f"scikit-learn load_digits, held-out half, stratified, split seed {SPLIT_SEED}",
        n=len(labels),
    )


def _record(name: str, version: str, accuracy: Accuracy) -> Model:
    return Model(
        name=name,
        task=TASK,
        version=version,
        accuracy=accuracy,
        input_name=INPUT_NAME,
        input_shape=INPUT_SHAPE,
        input_dtype="float32",
        output_name=OUTPUT_NAME,
        preprocess=Step(name="tensor"),
        postprocess=Step(name="top-k", params={"k": 3}),
        labels=LABELS,
    )


def _version() -> str:
    here = Path(__file__).parent
    sources = {file.name: file for file in here.glob("*.py")}
    sources["export"] = here.parent / "export.py"
    return store.recipe_version(sources, ("torch", "onnx", "onnxscript", "scikit-learn"))
