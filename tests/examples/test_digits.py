"""The digit models: a fair split, repeatable training, and accuracy that rises with cost."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from examples.digits import build as digits
from examples.digits.data import held_out, training
from examples.digits.models import RUNGS
from examples.digits.training import train
from examples.digits.warp import warp
from examples.store import ModelArtifact


def test_split_keeps_every_class_and_shares_no_digit() -> None:
    """Half is held out, the same half each time, with each class as often on both sides, give or take one."""
    (train_x, train_y), (test_x, test_y) = training(), held_out()
    seen = {image.tobytes() for image in train_x}

    assert (train_x.shape, test_x.shape) == ((898, 8, 8), (899, 8, 8))
    assert train_x.dtype == np.float32
    assert (train_x.min(), train_x.max()) == (0, 16)
    assert not any(image.tobytes() in seen for image in test_x)
    assert np.abs(np.bincount(train_y) - np.bincount(test_y)).max() <= 1
    np.testing.assert_array_equal(held_out()[0], test_x)


def test_warp_keeps_shape_and_range_and_follows_its_generator() -> None:
    """Interpolation makes no value that is not between its neighbours; equal seeds warp equally."""
    images = torch.from_numpy(held_out()[0])
    warped = warp(images, torch.Generator().manual_seed(3))

    assert warped.shape == images.shape
    assert (warped >= 0).all()
    assert (warped <= 16).all()
    assert torch.equal(warped, warp(images, torch.Generator().manual_seed(3)))
    assert not torch.equal(warped, warp(images, torch.Generator().manual_seed(4)))


@pytest.mark.models
def test_train_twice_gives_the_same_weights_and_leaves_the_caller_alone() -> None:
    """Seeded and on one thread; the caller's thread count and random state are as before."""
    rung, threads, state = RUNGS["digits-mlp-small"], torch.get_num_threads(), torch.get_rng_state()
    first = train(rung.make, rung.schedule, seed=5).state_dict()
    again = train(rung.make, rung.schedule, seed=5).state_dict()

    assert all(torch.equal(weights, again[name]) for name, weights in first.items())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.models
def test_accuracy_rises_from_rung_to_rung(built: dict[str, ModelArtifact]) -> None:
    """From about 90 % to 99 % and more, each at least three held-out digits better than the one before."""
    accuracies = [built[name].model.accuracy for name in digits.NAMES]
    values = [accuracy.value for accuracy in accuracies]

    assert {(accuracy.provenance, accuracy.n) for accuracy in accuracies} == {("measured", 899)}
    assert 0.88 < values[0] < 0.93
    assert values[-1] > 0.99
    assert all(better - worse >= 3 / 899 - 1e-9 for worse, better in pairwise(values))


@pytest.mark.models
def test_every_rung_is_built_and_named_alike(built: dict[str, ModelArtifact]) -> None:
    """The builder's names, which it repeats to stay free of torch, are the ladder's."""
    assert tuple(RUNGS) == digits.NAMES
    assert all(built[name].model.labels == tuple("0123456789") for name in digits.NAMES)
