"""Train one network on the training half: seeded and on one thread, so that a machine repeats itself.

Another CPU may round differently and end a digit or two away; the ladder is spaced so that its order holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.digits.data import training
from examples.digits.warp import warp

BATCH = 64
WEIGHT_DECAY = 1e-4
SMOOTHING = 0.05  # with warped digits only, whose labels are a little less certain


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """How one network learns. `warped` trains on digits that `warp` changes anew each epoch."""

    epochs: int
    rate_max: float
    warped: bool = False


def train(
    make: Callable[[], nn.Module],
    schedule: Schedule,
    *,
    seed: int,
    epoch_done: Callable[[], None] = lambda: None,
) -> nn.Module:
    """A trained network in evaluation mode. The held-out half is never looked at: no early stopping."""
    with _repeatable(seed) as generator:
        network = make()
        images, labels = (torch.from_numpy(array) for array in training())
        batches = math.ceil(len(images) / BATCH)
        optimizer = torch.optim.AdamW(network.parameters(), schedule.rate_max, weight_decay=WEIGHT_DECAY)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.rate_max, total_steps=schedule.epochs * batches)
        for _ in range(schedule.epochs):
            order = torch.randperm(len(images), generator=generator)
            for chosen in torch.split(order, BATCH):
                batch = warp(images[chosen], generator) if schedule.warped else images[chosen]
                _step(network, optimizer, batch, labels[chosen], SMOOTHING if schedule.warped else 0.0)
                rate.step()
            epoch_done()
    return network.eval()


def _step(
    network: nn.Module, optimizer: torch.optim.Optimizer, batch: Tensor, labels: Tensor, smoothing: float
) -> None:
    optimizer.zero_grad()
    loss = functional.cross_entropy(network(batch), labels, label_smoothing=smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


@contextmanager
def _repeatable(seed: int) -> Iterator[torch.Generator]:
    """One thread and seeded chance (weights, dropout), then the caller's own again."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield torch.Generator().manual_seed(seed)
    finally:
        torch.set_num_threads(threads)
