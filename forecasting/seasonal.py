"""The same H seconds of yesterday; the last value where yesterday is unknown."""

from __future__ import annotations

import msgspec
import numpy as np

from forecasting.expert import Ask, Role, Seen, points
from forecasting.rows import BLOCK_S, Floats


class SeasonalNaive(msgspec.Struct, frozen=True, tag="seasonal"):
    name: str = "seasonal naive, day"
    role: Role = "grown"

    def predict(self, seen: Seen, ask: Ask) -> Floats:
        found = []
        for h in ask.horizons_s:
            blocks = seen.rows.yesterday[:, : -(-h // BLOCK_S)]
            assert blocks.shape[1] * BLOCK_S >= h, f"horizon {h} s is longer than what is kept of yesterday"
            known = np.isfinite(blocks).any(1)
            tops = np.where(np.isfinite(blocks), blocks, -1.0).max(1)
            found.append(np.where(known, tops, seen.top(h)))
        return points(found, ask)
