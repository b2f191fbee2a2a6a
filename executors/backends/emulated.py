"""Not a model: takes as long as a profile says that one would, by chance as it says, and answers nothing of worth.

For rehearsing a fleet on machines that are not here. What stands for all sizes in a profile is p50 and p99; between
and beyond them a latency is drawn from the lognormal distribution through both:

    ln l = ln p50 + (ln p99 - ln p50) / z99 . n,   n standard normal, z99 its 99th percentile

Only an executor that was started as emulated opens one (residency.py), and it opens nothing else.
"""

from __future__ import annotations

import time
import zlib

import numpy as np

from executors.backends.protocol import Array, BackendMissing
from registry.latency import LatencyProfile
from registry.records import EMULATED, Model, Profile, Variant

Z99 = 2.3263478740408408


class Emulated:
    """One instance; loading and running sleep, without the interpreter's lock. Units: `load_us` of one load."""

    def __init__(self, latency: LatencyProfile, *, load_us: int, outputs: int, rng: np.random.Generator) -> None:
        self._latency, self._load_us, self._outputs, self._rng = latency, load_us, outputs, rng

    @property
    def versions(self) -> dict[str, str]:
        return {EMULATED: "1"}

    def load(self) -> None:
        time.sleep(self._load_us / 1e6)

    def run(self, batch: Array) -> Array:
        """Equal scores for all labels.

        Shapes: (n, *item) to (n, labels).
        """
        size = len(batch)
        time.sleep(sampled_us(self._latency, size, self._rng) / 1e6)
        return np.full((size, self._outputs), 1.0 / self._outputs, dtype=np.float32)

    def close(self) -> None:
        """Nothing to give back."""


def emulate(variant: Variant, model: Model, profile: Profile | None, *, seed: int, who: str) -> Emulated:
    """An instance of an emulated variant on the pool of `profile`; `who` tells the instances of one seed apart.

    Raises: BackendMissing if the variant is a real one, or the profile is none of a fleet file's.
    """
    if variant.framework != EMULATED:
        raise BackendMissing(f"{variant.name} is of {variant.framework}: an emulated machine has nothing to run it")
    if profile is None or profile.machine != EMULATED:
        raise BackendMissing(f"{variant.name} has no profile of a fleet file for this pool")
    rng = np.random.default_rng([seed, zlib.crc32(f"{who} {variant.name}".encode())])
    latency = LatencyProfile(profile.points, batch_max=variant.batch_max)
    return Emulated(latency, load_us=profile.load_us, outputs=max(1, len(model.labels)), rng=rng)


def sampled_us(latency: LatencyProfile, size: int, rng: np.random.Generator) -> float:
    """How long one batch takes; sizes beyond the profile's cap take as long as the cap."""
    size = min(size, latency.batch_max)
    p50_us, p99_us = max(1, latency.p50_us[size]), max(1, latency.p99_us[size])
    return float(p50_us * (p99_us / p50_us) ** (rng.standard_normal() / Z99))
