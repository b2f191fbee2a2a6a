"""What the demo asks: labelled digits and two photographs, with mixed SLOs and accuracy floors."""

from __future__ import annotations

import importlib.resources
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from registry.catalog import Offer
from streams.clock import to_ms
from streams.contract import OnMiss
from streams.payloads import encode_npy

DIGITS, IMAGES = "digit-classification", "image-classification"
PHOTOGRAPHS = ("china.jpg", "flower.jpg")  # scikit-learn ships them
UNMEETABLE = 0.9999  # a floor above every model: refused in words
UNMEETABLE_SHARE = 0.01
NAMED_SHARE = 0.03  # ask for a variant by its name, each in turn
# SLOs in times of the dearest image, which a digit may have to wait for; None is best effort.
DIGIT_SLOS = ((2.0, 0.2), (5.0, 0.4), (15.0, 0.3), (None, 0.1))
IMAGE_SLOS = ((6.0, 0.3), (15.0, 0.5), (None, 0.2))
SLO_STEP_MS = 50.0


class Query(NamedTuple):
    """One thing to ask; `truth` is the label that is right, where somebody knows it."""

    task: str
    payload: bytes
    content_type: str
    slo_ms: float | None
    accuracy_min: float | None
    on_miss: OnMiss
    truth: str | None = None
    variant: str | None = None  # asked for by name, instead of the task


class Material:
    """Payloads, made once: every held-out digit, and both photographs."""

    def __init__(self) -> None:
        from examples.digits.data import held_out

        images, labels = held_out()
        self.digits = [(encode_npy(image), str(label)) for image, label in zip(images, labels, strict=True)]
        files = importlib.resources.files("sklearn.datasets.images")
        self.photographs = [files.joinpath(name).read_bytes() for name in PHOTOGRAPHS]


class Mix:
    """Draws queries. Floors lie just under the accuracies that can be served, so that every step is asked for."""

    def __init__(self, material: Material, offers: Sequence[Offer], *, rng: np.random.Generator) -> None:
        self._material = material
        self._rng = rng
        self._unit_ms = max(to_ms(o.latency.p50_us[1]) for o in offers if o.task == IMAGES)
        self._floors = {task: _floors(offers, task) for task in (DIGITS, IMAGES)}
        self._named = itertools.cycle(sorted({(offer.variant, offer.task) for offer in offers}))
        self._next_digit = self._next_photograph = 0

    def digit(self, *, slo_ms: float | None = None, floor: float | None = None) -> Query:
        """The next held-out digit, in order, so that all of them are asked before any twice."""
        payload, truth = self._material.digits[self._next_digit % len(self._material.digits)]
        self._next_digit += 1
        return Query(DIGITS, payload, "application/x-npy", slo_ms, floor, OnMiss.REJECT, truth)

    def image(self, *, slo_ms: float | None = None, floor: float | None = None, on_miss: OnMiss) -> Query:
        payload = self._material.photographs[self._next_photograph % len(PHOTOGRAPHS)]
        self._next_photograph += 1
        return Query(IMAGES, payload, "image/jpeg", slo_ms, floor, on_miss)

    def named(self) -> Query:
        """The next variant by its name, without a deadline."""
        variant, task = next(self._named)
        query = self.digit() if task == DIGITS else self.image(on_miss=OnMiss.REJECT)
        return query._replace(variant=variant)

    def draw(self, *, image_share: float) -> Query:
        """One query of the steady load."""
        if self._rng.random() < NAMED_SHARE:
            return self.named()
        if self._rng.random() < image_share:
            on_miss = OnMiss.DEGRADE if self._rng.random() < 0.5 else OnMiss.REJECT
            return self.image(slo_ms=self._slo(IMAGE_SLOS), floor=self._floor(IMAGES), on_miss=on_miss)
        return self.digit(slo_ms=self._slo(DIGIT_SLOS), floor=self._floor(DIGITS))

    def _slo(self, choices: Sequence[tuple[float | None, float]]) -> float | None:
        times = choices[int(self._rng.choice(len(choices), p=[share for _times, share in choices]))][0]
        return None if times is None else slo_ms(times, self._unit_ms)

    @property
    def floor_max(self) -> float:
        """The highest accuracy that an image can be asked with."""
        return max(floor for floor in self._floors[IMAGES] if floor is not None)

    def _floor(self, task: str) -> float | None:
        if self._rng.random() < UNMEETABLE_SHARE:
            return UNMEETABLE
        floors = self._floors[task]
        return floors[int(self._rng.integers(len(floors)))]


def slo_ms(times: float, unit_ms: float) -> float:
    """So many times a unit, rounded up to a figure that a person would ask for."""
    return SLO_STEP_MS * math.ceil(times * unit_ms / SLO_STEP_MS)


def _floors(offers: Sequence[Offer], task: str) -> list[float | None]:
    """No floor, and each accuracy rounded down to three digits."""
    found = {int(offer.accuracy * 1_000) / 1_000 for offer in offers if offer.task == task}
    return [None, *sorted(found)]
