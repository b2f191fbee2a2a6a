"""Five networks for 8x8 digits, from a few hundred multiplications an answer to eight million.

All take (batch, 8, 8) grey values 0..16 and scale them themselves; all answer logits (batch, 10).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

GREY_MAX = 16.0
CLASSES = 10


class LowRank(nn.Module):
    """Softmax regression through a bottleneck of `rank` numbers: weak on purpose, next to free."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, rank, bias=False), nn.Linear(rank, CLASSES))

    def forward(self, digits: Tensor) -> Tensor:
        logits: Tensor = self.layers(digits / GREY_MAX)
        return logits


class Perceptron(nn.Module):
    """Fully connected layers of these widths."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in zip((64, *widths), widths, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES))

    def forward(self, digits: Tensor) -> Tensor:
        logits: Tensor = self.layers(digits / GREY_MAX)
        return logits


class Convolutional(nn.Module):
    """Two convolutions at 8x8, `deep` more at 4x4, one hidden layer."""

    def __init__(self, first: int, second: int, hidden: int, *, deep: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1, first, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        for _ in range(deep):
            layers += [nn.Conv2d(second, second, 3, padding=1), nn.ReLU()]
        layers += [nn.Flatten(), nn.Dropout(0.3), nn.Linear(second * 16, hidden), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, CLASSES))

    def forward(self, digits: Tensor) -> Tensor:
        logits: Tensor = self.layers(digits.unsqueeze(1) / GREY_MAX)
        return logits


class Committee(nn.Module):
    """Several trained networks; the answer is their mean probability."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, digits: Tensor) -> Tensor:
        votes = torch.stack([member(digits).softmax(dim=1) for member in self.members])
        return votes.mean(dim=0).log()  # the softmax that every export adds turns this back into the mean
