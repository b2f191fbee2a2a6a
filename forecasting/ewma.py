"""The exponentially weighted mean of the maxima of the last windows of H seconds."""

from __future__ import annotations

import msgspec
import numpy as np

from forecasting.expert import Ask, Role, Seen, points
from forecasting.rows import Floats


class Ewma(msgspec.Struct, frozen=True, tag="ewma"):
    """`alpha` is the weight of the newest window."""

    alpha: float = 0.8
    name: str = "EWMA"
    role: Role = "always"

    def predict(self, seen: Seen, ask: Ask) -> Floats:
        found = []
        for h in ask.horizons_s:
            windows = seen.windows(h)
            weights = self.alpha * (1 - self.alpha) ** np.arange(windows.shape[1] - 1, -1, -1)
            weights[0] = (1 - self.alpha) ** (windows.shape[1] - 1)  # the oldest stands for all before it
            found.append(windows @ weights)
        return points(found, ask)
