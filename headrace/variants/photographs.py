"""Sample inputs of an image model from a few photographs: random crops, prepared as queries are.

Crops are no validation set: there are no labels, and those of one photograph resemble each other. They show how often a
copy in reduced precision answers as the original does, on inputs that are images and not noise.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from executors.processing import prepare
from headrace.variants.evidence import Array, Evidence, from_samples
from registry.records import Model
from streams.errors import BadSettings

CROPS = 96  # that answers are compared on
CALIBRATION_CROPS = 64
SIDE_MIN = 0.4  # of the short side
SUFFIXES = (".jpg", ".jpeg", ".png")


def crops_of(paths: Sequence[Path], model: Model, *, seed: int = 0) -> Evidence:
    """The first half of the photographs (by name) calibrates, the others are compared on.

    Raises: BadSettings on fewer than two photographs, or one that cannot be read.
    """
    names = sorted(paths)
    if len(names) < 2:
        raise BadSettings(f"{len(names)} photographs; two are needed, one to find ranges on and one to compare on")
    half = len(names) // 2
    x = _crops(names[half:], model, CROPS, seed)
    calibration = _crops(names[:half], model, CALIBRATION_CROPS, seed + 1)
    told = (
        f"{CROPS} random crops ({SIDE_MIN:g} to 1 of the short side, seed {seed}) of {', '.join(_told(names[half:]))}; "
        f"int8 ranges from {CALIBRATION_CROPS} crops of {', '.join(_told(names[:half]))}"
    )
    return from_samples(x, calibration=calibration, told=told)


def photographs_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _told(paths: Sequence[Path]) -> list[str]:
    return [path.name for path in paths[:4]] + ([f"{len(paths) - 4} more"] if len(paths) > 4 else [])


def _crops(paths: Sequence[Path], model: Model, count: int, seed: int) -> Array:
    preparation = prepare(model.preprocess, model)
    rng = np.random.default_rng(seed)
    share = -(-count // len(paths))
    crops = [crop for path in paths for crop in _of_one(path, share, rng)][:count]
    return np.stack([preparation(crop, "image/png") for crop in crops])


def _of_one(path: Path, count: int, rng: np.random.Generator) -> Iterator[bytes]:
    from PIL import Image

    try:
        photograph = Image.open(path).convert("RGB")
    except OSError as error:
        raise BadSettings(f"{path}: not a readable photograph: {error}") from error
    width, height = photograph.size
    for _ in range(count):
        side = max(1, int(min(width, height) * rng.uniform(SIDE_MIN, 1.0)))
        left, top = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
        crop = io.BytesIO()
        photograph.crop((left, top, left + side, top + side)).save(crop, "PNG", compress_level=1)
        yield crop.getvalue()
