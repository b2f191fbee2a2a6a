"""The garbage collector of a process whose hot path makes no cycles."""

from __future__ import annotations

import gc

YOUNG_MAX = 50_000  # the default of 700 looks at the youngest objects every few queries, 10 % of a router's CPU


def calm() -> None:
    """Leave what was loaded at the start out of every collection, and collect the rest more rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, 20, 50)
