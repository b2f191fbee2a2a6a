"""What variants are judged on: labelled items of a validation set, else sample inputs, else nothing but noise."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np

from executors.measure import plausible
from registry.dataset import Dataset
from registry.records import Model

Array = np.ndarray[Any, Any]

CALIBRATION_MAX = 100  # items; ranges hardly change after some dozens
CALIBRATION_SHARE = 5  # at most a fifth of a small set
DRAWN = 32


class Evidence(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Items to compare answers on, and others, apart from them, to find ranges for int8 on.

    Shapes: `x` (n, *item), `y` (n,) right classes or None, `calibration` (m, *item).
    `told` says in words what `x` is; `dataset` is the sha256 of the validation set, empty without one.
    """

    x: Array
    y: Array | None = None
    calibration: Array
    told: str
    dataset: str = ""
    drawn: bool = False  # noise: it shows that a model runs, and nothing about its answers to real inputs

    def digest(self) -> str:
        """Of everything that a result can depend on."""
        content = hashlib.sha256()
        for array in (self.x, self.calibration, *(() if self.y is None else (self.y,))):
            content.update(f"{array.shape} {array.dtype}".encode())
            content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()


def from_dataset(dataset: Dataset, *, seed: int = 0) -> Evidence:
    """A validation set, split: `CALIBRATION_MAX` items or a fifth for calibration, all others measure."""
    count = min(CALIBRATION_MAX, dataset.n // CALIBRATION_SHARE)
    calibration, rest = dataset.split(count, seed)
    told = f"{rest.n} of the {dataset.n} items of the validation set ({rest.part})"
    return Evidence(x=rest.x, y=rest.y, calibration=calibration.x, told=told, dataset=dataset.sha256)


def from_samples(x: Array, *, calibration: Array, told: str) -> Evidence:
    """Inputs without labels: only how often a variant answers as fp32 does can be told. `told` says what they are."""
    return Evidence(x=x, calibration=calibration, told=told)


def without(model: Model) -> Evidence:
    """No real inputs at all: noise, on which only equal precision can be compared."""
    noise = plausible(model, DRAWN, rng=np.random.default_rng(0))
    return Evidence(x=noise, calibration=noise[:0], told=f"{DRAWN} random inputs", drawn=True)
