"""eta: which share of b / l99(b) a lane really delivers, learnt from what lanes deliver.

A lane that was never idle tells eta itself. One that had idle time tells only that eta is at least what it delivered.
"""

from __future__ import annotations

import msgspec

START, LOW, HIGH = 0.75, 0.3, 1.0
SATURATED = 0.95  # busy share from which a lane counts as never idle
HALF_LIFE_S = 120.0


class Eta(msgspec.Struct, frozen=True, kw_only=True):
    """The factor of one (variant, pool), a value: `observed` returns the next one."""

    value: float = START

    def observed(self, delivered_qps: float, *, nominal_qps: float, busy: float, seconds: float) -> Eta:
        """One window of one or more lanes together.

        `nominal_qps` is b / l99(b) of all of them, `busy` the share of the window that they ran batches,
        `delivered_qps` only what was in time.
        """
        assert nominal_qps > 0
        assert seconds >= 0
        ratio = min(HIGH, max(LOW, delivered_qps / nominal_qps))
        if busy < SATURATED and ratio <= self.value:
            return self
        kept = 0.5 ** (seconds / HALF_LIFE_S)
        return Eta(value=min(HIGH, max(LOW, kept * self.value + (1 - kept) * ratio)))
