"""What the answers of a model's artifacts say of them: are they one model, how good is it, do its labels fit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from registry.archives import BadArtifact
from registry.dataset import BadDataset, Dataset
from registry.inspection import MEASURED_MAX, Array
from registry.intervals import wilson
from registry.records import Accuracy
from registry.registration import Registration


def compare(answers: Mapping[str, Array], tolerance: float) -> dict[str, float]:
    """The largest difference of each framework's answers from the first one's, and whether they are one model."""
    (reference, first), *others = answers.items()
    differences: dict[str, float] = {}
    for framework, other in others:
        if other.shape[1:] != first.shape[1:]:
            raise BadArtifact(
                f"{reference} answers {list(first.shape[1:])} to an item, {framework} {list(other.shape[1:])}; "
                "both must be of one model, with the same output"
            )
        n = min(len(first), len(other))
        apart = np.abs(first[:n] - other[:n])
        if not np.allclose(first[:n], other[:n], rtol=tolerance, atol=tolerance):
            item = int(np.unravel_index(apart.argmax(), apart.shape)[0])
            raise BadArtifact(
                f"{reference} and {framework} differ by {apart.max():.3g} at item {item}, more than tolerance = "
                f"{tolerance:g}; export both from the same weights, in evaluation mode"
            )
        differences[framework] = float(apart.max())
    return differences


def accuracy_of(registration: Registration, answers: Array, items: Dataset | None, notes: list[str]) -> Accuracy:
    published = registration.accuracy
    if items is None or answers.ndim != 2:
        if published is None:
            raise BadArtifact(
                f"answers of {list(answers.shape[1:])} to an item are no scores of classes, so that accuracy cannot be "
                "measured here; give [accuracy] with value and source"
            )
        return Accuracy(value=published.value, provenance="published", source=published.source)
    n = len(answers)
    right = int((answers.argmax(axis=1) == items.y[:n]).sum())
    low, high = wilson(right, n)
    if high < 1.0 / answers.shape[1] or (n >= 100 and low <= 1.0 / answers.shape[1]):
        notes.append(
            f"{right} of {n} items are right, no more than by guessing: are y, labels and the outputs in one order, "
            "and is x as the model takes it?"
        )
    if n < items.n:
        notes.append(f"accuracy is of the first {MEASURED_MAX} of {items.n} items")
    return Accuracy(
        value=right / n, provenance="measured", source=f"validation set, {n} items", n=n, dataset=items.sha256, low=low,
        high=high,
    )  # fmt: skip


def check_labels(registration: Registration, answers: Array, items: Dataset | None) -> None:
    outputs = int(np.prod(answers.shape[1:]))
    if registration.labels and len(registration.labels) != outputs:
        raise BadArtifact(f"labels has {len(registration.labels)} names, and the model {outputs} outputs")
    if items is not None and answers.ndim == 2 and items.y.max() >= outputs:
        raise BadDataset(f"y of the validation set has class {items.y.max()}, and the model outputs 0 to {outputs - 1}")
