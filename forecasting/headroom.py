"""The last value times a factor: what most systems deploy."""

from __future__ import annotations

import msgspec

from forecasting.expert import Ask, Role, Seen, points
from forecasting.rows import Floats


class Headroom(msgspec.Struct, frozen=True, tag="headroom"):
    factor: float
    role: Role = "always"

    @property
    def name(self) -> str:
        return f"last x {self.factor:g}"

    def predict(self, seen: Seen, ask: Ask) -> Floats:
        return points([self.factor * seen.top(h) for h in ask.horizons_s], ask)
