"""The highest rate of the last H seconds, for the next H seconds. What everything else must beat."""

from __future__ import annotations

import msgspec

from forecasting.expert import Ask, Role, Seen, points
from forecasting.rows import Floats


class LastValue(msgspec.Struct, frozen=True, tag="last"):
    name: str = "last"
    role: Role = "always"

    def predict(self, seen: Seen, ask: Ask) -> Floats:
        return points([seen.top(h) for h in ask.horizons_s], ask)
