"""The counts of the last hour of every class, kept second by second, and the maxima of the last day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from forecasting import jumps
from forecasting.gaps import BEFORE_S, HOLE_MAX_S, hole_after
from forecasting.rows import AHEAD_BLOCKS, BLOCK_S, DAY_BLOCKS, WINDOW_S, Floats, Known, Rates, Rows, Seconds

CLASSES_MAX = 1_024  # 36 MB of counts; later ones count together
OTHER = "other"


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Before `second`, the first one that was not counted yet (0: nothing was).

    Shapes: n classes; `rate` and `known` (n, 3600), oldest first; `jumps` (n, 4); `born` (n,), first second of each
            class; `blocks` (n, 8640), maxima of 10 s at number % 8640, NaN where unknown.
    `silent_s` is how long the total has been zero, `hole_after_s` when that is a hole (0: never).
    """

    second: int
    classes: tuple[str, ...]
    rate: Rates
    known: Known
    jumps: Seconds
    born: Seconds
    blocks: Floats
    silent_s: int
    hole_after_s: int

    def rows(self) -> Rows:
        """One row a class."""
        n = len(self.classes)
        index = (self.second // BLOCK_S + np.arange(AHEAD_BLOCKS)) % DAY_BLOCKS
        second = np.full(n, self.second, dtype=np.int64)
        return Rows(
            rate=self.rate, known=self.known, jumps=self.jumps, second=second, age_s=second - self.born,
            yesterday=self.blocks[:, index],
        )  # fmt: skip

    def maxima(self, span_s: int) -> Floats:
        """The highest rate of the last `span_s` seconds; NaN where one of them is unknown. Shapes: (n,)."""
        whole = self.known[:, -span_s:].all(1)
        return np.where(whole, self.rate[:, -span_s:].max(1), np.nan).astype(np.float64)


def empty() -> History:
    return History(
        second=0, classes=(), rate=np.zeros((0, WINDOW_S), dtype=np.float32),
        known=np.zeros((0, WINDOW_S), dtype=np.bool_), jumps=jumps.none(0), born=np.zeros(0, dtype=np.int64),
        blocks=np.full((0, DAY_BLOCKS), np.nan), silent_s=0, hole_after_s=0,
    )  # fmt: skip


def observe(before: History, second: int, counts: Mapping[str, float], *, hole: bool = False) -> History:
    """The history after `second`. A class without a count had none; with `hole` nothing is known of that second.

    Seconds that were left out are holes. Zeros of all classes together become a hole as `gaps` says, backwards too.

    Raises: AssertionError on a second that is not later than the last one, or a negative count.
    """
    assert second >= before.second, f"second {second} was counted already: the next one is {before.second}"
    assert all(count >= 0 for count in counts.values())
    if before.second and second - before.second >= WINDOW_S:
        before = _silence(before, second)
    while before.second and before.second < second:
        before = _append(before, {}, hole=True)
    if not before.second:
        before = msgspec.structs.replace(before, second=second)
    return _append(before, {} if hole else counts, hole=hole)


def _append(before: History, counts: Mapping[str, float], *, hole: bool) -> History:
    before, counts = _welcome(before, counts)
    second, n = before.second, len(before.classes)
    latest = np.array([counts.get(name, 0.0) for name in before.classes], dtype=np.float32)
    rate = np.empty_like(before.rate)
    rate[:, :-1], rate[:, -1] = before.rate[:, 1:], latest
    known = np.empty_like(before.known)
    known[:, :-1], known[:, -1] = before.known[:, 1:], not hole
    silent_s, hole_after_s = before.silent_s, before.hole_after_s
    if not hole:
        silent_s = silent_s + 1 if n and not latest.any() else 0
        if silent_s == 1:
            past = slice(-BEFORE_S - 1, -1)
            hole_after_s = (
                hole_after(rate[:, past].sum(0, dtype=np.float64), np.logical_or.reduce(known[:, past], axis=0)) or 0
            )
        if silent_s and hole_after_s and hole_after_s <= silent_s <= HOLE_MAX_S:
            known[:, -silent_s:] = False
    blocks = before.blocks
    if (second + 1) % BLOCK_S == 0:
        blocks = blocks.copy()
        some = known[:, -BLOCK_S:].any(1)
        blocks[:, second // BLOCK_S % DAY_BLOCKS] = np.where(some, rate[:, -BLOCK_S:].max(1), np.nan)
    return msgspec.structs.replace(
        before, second=second + 1, rate=rate, known=known, blocks=blocks, silent_s=silent_s, hole_after_s=hole_after_s,
        jumps=jumps.step(before.jumps, rate, known, second=second),
    )  # fmt: skip


def _welcome(before: History, counts: Mapping[str, float]) -> tuple[History, Mapping[str, float]]:
    """Rows for new classes; beyond CLASSES_MAX they count as OTHER. Classes idle for a day leave on the hour."""
    if before.second % WINDOW_S == 0 and before.classes:
        idle = (before.rate == 0).all(1) & ~(before.blocks > 0).any(1) & (before.born < before.second - WINDOW_S)
        if idle.any():
            before = keep(before, np.flatnonzero(~idle))
    have = set(before.classes)
    fresh = sorted(name for name, count in counts.items() if count and name not in have)
    if not fresh:
        return before, counts
    room = CLASSES_MAX - 1 - len(have - {OTHER})
    if len(fresh) > room:
        rest = set(fresh[max(0, room) :]) - {OTHER}
        other = counts.get(OTHER, 0.0) + sum(counts[name] for name in rest)
        counts = {**{name: count for name, count in counts.items() if name not in rest}, OTHER: other}
        fresh = sorted({*fresh[: max(0, room)], OTHER} - have)
    k = len(fresh)
    grown = msgspec.structs.replace(
        before, classes=(*before.classes, *fresh),
        rate=np.concatenate((before.rate, np.zeros((k, WINDOW_S), dtype=np.float32))),
        known=np.concatenate((before.known, np.zeros((k, WINDOW_S), dtype=np.bool_))),
        jumps=np.concatenate((before.jumps, jumps.none(k))),
        born=np.concatenate((before.born, np.full(k, before.second, dtype=np.int64))),
        blocks=np.concatenate((before.blocks, np.full((k, DAY_BLOCKS), np.nan))),
    )  # fmt: skip
    return grown, counts


def keep(of: History, which: npt.NDArray[np.intp]) -> History:
    """Only some of the classes."""
    parts: dict[str, Any] = {name: getattr(of, name)[which] for name in ("rate", "known", "jumps", "born", "blocks")}
    return msgspec.structs.replace(of, classes=tuple(of.classes[i] for i in which), **parts)


def _silence(before: History, second: int) -> History:
    """After more than an hour without a word nothing of the window is left; the day's maxima are, where not too old."""
    first, last = before.second // BLOCK_S, second // BLOCK_S
    blocks = before.blocks.copy()
    blocks[:, np.arange(first, min(last, first + DAY_BLOCKS)) % DAY_BLOCKS] = np.nan
    return msgspec.structs.replace(
        before, second=second, rate=np.zeros_like(before.rate), known=np.zeros_like(before.known), blocks=blocks,
        silent_s=0, hole_after_s=0,
    )  # fmt: skip
