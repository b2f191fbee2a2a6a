"""What a run came to, from what was sent, answered and held. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from forecasting.rows import Floats
from simulator.loads import Ask

IN_TIME, LASTING = 0.99, 3  # of a second's queries, for so many seconds in a row


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One side's run. Shares of the queries with a deadline; `accuracy` is the mean over those in time.

    `violations`: not answered `ok` within the SLO, for whatever reason. `cores` and `usd_hour`: means over the run, of
    machines that boot, serve or drain. `reaction_s`: seconds after the steepest second of the load until LASTING
    seconds in a row have IN_TIME of their queries in time; None: never. `offline_done`: share of the offline queries
    answered.
    """

    side: str
    queries: int
    lost: int
    violations: float
    accuracy: float
    cores: float
    usd_hour: float
    reaction_s: float | None
    offline_done: float | None


class Second(msgspec.Struct, frozen=True):
    """One second of the load; `at_s` since its beginning."""

    at_s: int
    sent: int
    in_time: int


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """Queries and their answers, all by number. Units: `at_s` since the load's beginning; `took_us`, -1 for none."""

    at_s: Floats
    kind: npt.NDArray[np.int64]
    took_us: npt.NDArray[np.int64]
    accuracy: Floats


def in_time(answered: Answered, asks: Sequence[Ask]) -> npt.NDArray[np.bool_]:
    """Which were `ok` within their SLO; an offline one, whenever it was."""
    slo_us = np.array([np.inf if ask.slo_ms is None else ask.slo_ms * 1_000 for ask in asks])
    ok: npt.NDArray[np.bool_] = (
        (answered.took_us >= 0) & np.isfinite(answered.accuracy) & (answered.took_us <= slo_us[answered.kind])
    )
    return ok


def by_second(answered: Answered, asks: Sequence[Ask]) -> list[Second]:
    """Of the queries with a deadline."""
    timed = ~_offline(answered, asks)
    good = in_time(answered, asks)[timed]
    seconds = answered.at_s[timed].astype(np.int64)
    count = int(seconds.max(initial=-1)) + 1
    sent = np.bincount(seconds, minlength=count)
    kept = np.bincount(seconds, weights=good, minlength=count)
    return [Second(n, int(sent[n]), int(kept[n])) for n in range(count)]


def recovered_s(seconds: Sequence[Second], *, since_s: int = 0) -> float | None:
    """Whole seconds from `since_s` until LASTING of them in a row had IN_TIME of their queries in time; None: never."""
    after = [second for second in seconds if second.at_s >= since_s]
    good = [second.in_time >= IN_TIME * second.sent for second in after]
    at = next((n for n in range(len(good) - LASTING + 1) if all(good[n : n + LASTING])), None)
    return None if at is None else float(after[at].at_s - since_s)


def score(
    side: str, answered: Answered, asks: Sequence[Ask], machines: Sequence[Mapping[str, int]],
    sizes: Mapping[str, tuple[int, float]], *, jump_s: int,
) -> Score:  # fmt: skip
    """Shapes: `machines` by pool for every second of the load; `sizes` cores and USD an hour of a pool's machine."""
    offline = _offline(answered, asks)
    good = in_time(answered, asks)
    timed = int((~offline).sum())
    seconds = max(1, len(machines))
    cores = sum(sizes[pool][0] * n for held in machines for pool, n in held.items()) / seconds
    usd = sum(sizes[pool][1] * n for held in machines for pool, n in held.items()) / seconds
    served = answered.accuracy[good & ~offline]
    return Score(
        side=side, queries=timed, lost=int((answered.took_us[~offline] < 0).sum()),
        violations=float((~good & ~offline).sum() / max(1, timed)),
        accuracy=float(served.mean()) if len(served) else 0.0, cores=cores, usd_hour=usd,
        reaction_s=recovered_s(by_second(answered, asks), since_s=jump_s),
        offline_done=float(good[offline].mean()) if offline.any() else None,
    )  # fmt: skip


def jump_s(total: Floats) -> int:
    """The second in which a load rises most, smoothed over five; shape (seconds,)."""
    width = min(5, len(total))
    mean = np.convolve(total, np.ones(width) / width, mode="valid")
    if len(mean) <= width:
        return 0
    return int(np.argmax(mean[width:] - mean[:-width])) + width


def _offline(answered: Answered, asks: Sequence[Ask]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = np.array([ask.offline for ask in asks])[answered.kind]
    return found
