"""Digits turned, shifted, scaled and sheared a little at random: more to train on than there is."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

TURN_DEG, SHIFT_PX, SCALE, SHEAR = 12.0, 0.8, 0.12, 0.1
"""Range, each way, chosen by hand: little enough that each digit stays the digit that it is."""


def warp(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Each digit through its own random affine map. Shapes: (n, 8, 8) -> (n, 8, 8)."""

    def within(bound: float) -> Tensor:
        return (torch.rand(len(digits), generator=generator) * 2 - 1) * bound

    return _affine(
        digits,
        turn=within(math.radians(TURN_DEG)),
        scale=1 + within(SCALE),
        shear=within(SHEAR),
        right=within(SHIFT_PX),
        down=within(SHIFT_PX),
    )


def _affine(digits: Tensor, *, turn: Tensor, scale: Tensor, shear: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Shapes: digits (n, 8, 8), all others (n,). Units: radians and pixels; an 8-pixel side is 2 grid units."""
    cos, sin = torch.cos(turn) * scale, torch.sin(turn) * scale
    rows = (torch.stack([cos, shear - sin, right / 4], dim=1), torch.stack([sin, cos, down / 4], dim=1))
    grid = functional.affine_grid(torch.stack(rows, dim=1), [len(digits), 1, 8, 8], align_corners=False)
    return functional.grid_sample(digits.unsqueeze(1), grid, align_corners=False).squeeze(1)
