"""Seconds in which nothing was counted although queries came: holes of the feed, not absence of load.

A zero of one class says nothing, so holes are looked for in the total. A run of zeros is a hole if the feed was busy
and regular before it, and the run is one that a Poisson process of that rate would show once in 5e8 times.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

BEFORE_S = 300
KNOWN_MIN_S = 60  # of the 300 s before; less says nothing of what is regular
RATE_MIN = 5.0  # queries a second; below, idle seconds are part of the load
IDLE_MAX = 0.05  # share of zeros before: a feed that comes in bursts is idle between them
SURPRISE = 20.0  # rate x length: exp(-20)
HOLE_MAX_S = 3_600  # what is silent for longer than an hour has no load


def hole_after(before: npt.NDArray[np.floating], known: npt.NDArray[np.bool_]) -> int | None:
    """How long a run of zeros must be to be a hole, judged by the (at most) `BEFORE_S` seconds before it.

    Shapes:  `before` and `known` (k,), k <= BEFORE_S.
    Returns: seconds, or None where no run would be one.
    """
    count = int(known.sum())
    if count < KNOWN_MIN_S:
        return None
    rate = float(before[known].sum()) / count
    idle = int((before[known] == 0).sum()) / count
    return None if rate < RATE_MIN or idle > IDLE_MAX else math.ceil(SURPRISE / rate)


def holes(total: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Which seconds of a whole series lie in holes; what `History` finds second by second, found at once.

    Shapes: `total` (t,), never negative, NaN where nothing was counted; the result (t,).
    """
    known = np.isfinite(total)
    edges = np.diff(np.concatenate(([False], total == 0, [False])).astype(np.int8))
    for start, end in zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True):
        since = max(0, start - BEFORE_S)
        least = hole_after(total[since:start], known[since:start])
        if least is not None and end - start >= least:
            known[start : min(end, start + HOLE_MAX_S)] = False
    unknown: npt.NDArray[np.bool_] = ~known
    return unknown
