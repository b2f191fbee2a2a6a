"""Not a model: sleeps for as long as one would take. Only for benchmarks and tests.

The class of an item is its first element modulo the number of outputs, so that a test can tell whose answer it
got. An item that begins with -1 makes the whole run raise; one that begins with NaN gives a row of NaN.
"""

from __future__ import annotations

import time
from typing import Self

import numpy as np

from executors.backends.protocol import Array
from registry.records import Artifact, Model
from streams.errors import BadSettings, ModelFailed


class Stub:
    """l(b) = fixed + per_item b, slept without the interpreter's lock; 0 and 0 is a no-op."""

    def __init__(self, *, fixed_us: float = 0.0, per_item_us: float = 0.0, outputs: int = 1) -> None:
        assert fixed_us >= 0
        assert per_item_us >= 0
        assert outputs >= 1
        self._fixed_us, self._per_item_us, self._outputs = fixed_us, per_item_us, outputs

    @classmethod
    def of(cls, model: Model) -> Self:
        """A stub as the model's artifact says, `stub:FIXED_US:PER_ITEM_US`, with one output a label; else a no-op.

        Raises: BadSettings.
        """
        outputs = max(1, len(model.labels))
        artifact = model.artifacts.get("stub")
        if artifact is None:
            return cls(outputs=outputs)
        try:
            scheme, fixed, per_item = artifact.path.split(":")
            fixed_us, per_item_us = float(fixed), float(per_item)
        except ValueError:
            raise BadSettings(f"{model.name}: stub {artifact.path!r} is not stub:FIXED_US:PER_ITEM_US") from None
        if scheme != "stub" or not (0 <= fixed_us <= 1e9 and 0 <= per_item_us <= 1e9):
            raise BadSettings(
                f"{model.name}: stub {artifact.path!r} is not stub:FIXED_US:PER_ITEM_US, 0 to 1e9 us each"
            )
        return cls(fixed_us=fixed_us, per_item_us=per_item_us, outputs=outputs)

    @property
    def versions(self) -> dict[str, str]:
        return {"stub": "1"}

    def load(self) -> None:
        """Nothing to load."""

    def run(self, batch: Array) -> Array:
        size = len(batch)
        sleep_us = self._fixed_us + self._per_item_us * size
        if sleep_us > 0:
            time.sleep(sleep_us / 1e6)
        first = batch.reshape(size, -1)[:, 0].astype(np.float64)
        if (first == -1).any():
            raise ModelFailed("an item begins with -1, which makes the stub fail")
        rows = np.zeros((size, self._outputs), dtype=np.float32)
        sound = np.isfinite(first)
        rows[sound, (first[sound] % self._outputs).astype(np.int64)] = 1.0
        rows[~sound] = np.nan
        return rows

    def close(self) -> None:
        """Nothing to give back."""


def stub_artifact(*, fixed_us: float, per_item_us: float) -> Artifact:
    """What a model's `artifacts["stub"]` must be for that latency."""
    return Artifact(path=f"stub:{fixed_us:g}:{per_item_us:g}", sha256="")
