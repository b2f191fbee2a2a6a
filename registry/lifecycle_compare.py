"""Whether a canary is worse than the stable version: errors, latency, measured accuracy and agreement.

Each comparison is a 95 % interval held against a margin that is named here, so that a verdict says how sure it is:
worse if the interval shows it, no worse if even its bad end keeps the margin, too little data if it could be either.
Four comparisons at 95 % find a canary worse by chance in at most one trial of ten, and more often if one looks again
and again; that errs on the side of the stable version.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from registry.intervals import wilson
from registry.records import Accuracy

ERRORS_MARGIN = 0.02  # more of the answers may be errors; 200 answers without one show that much
LATENCY_MARGIN = 0.10  # of the median
AGREEMENT_MIN = 0.90  # where nothing was measured to derive it from
AGREEMENT_N = 50  # answers compared, at least
SECONDS_MIN = 10  # with answers of both; one burst is one observation, however many queries it has
RESAMPLES, SEED = 1_000, 1


class Finding(enum.StrEnum):
    WORSE = "worse"
    TOO_LITTLE = "too little data"
    NO_WORSE = "no worse"
    BETTER = "better"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What one version did on the trial's queries.

    `errors` counts failed and expired answers; what was rejected is the client's doing.
    `accuracy` is that of the variants which answered, see `served`.
    Units: `latency_ms` from the query's append to its answer, of each answer that was ok; `seconds` when each came.
    """

    version: str
    ok: int
    errors: int
    latency_ms: Sequence[float]
    seconds: Sequence[int]
    accuracy: Accuracy

    @property
    def answers(self) -> int:
        return self.ok + self.errors


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison, in words."""

    what: str
    stable: str
    canary: str
    difference: str
    finding: Finding | None  # None: nothing to compare


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    stable: str
    canary: str
    rows: tuple[Row, ...]

    @property
    def verdict(self) -> Finding:
        """Worse if anything is; else too little data if anything could be; else better if anything is."""
        found = {row.finding for row in self.rows}
        for finding in (Finding.WORSE, Finding.TOO_LITTLE, Finding.BETTER):
            if finding in found:
                return finding
        return Finding.NO_WORSE


def compare(model: str, stable: Seen, canary: Seen, *, same: int, asked: int) -> Comparison:
    """`same` of `asked` queries that the canary had answered got the same answer from the stable version."""
    rows = (
        errors(stable, canary), latency(stable, canary), accuracy(stable, canary),
        agreement(stable, canary, same=same, asked=asked),
    )  # fmt: skip
    return Comparison(model=model, stable=stable.version, canary=canary.version, rows=rows)


def errors(stable: Seen, canary: Seen) -> Row:
    """The canary's share of errors less the stable version's."""
    low, high = difference((canary.errors, canary.answers), (stable.errors, stable.answers))
    if low > 0:
        finding = Finding.WORSE
    elif high > ERRORS_MARGIN:
        finding = Finding.TOO_LITTLE
    else:
        finding = Finding.BETTER if high < 0 else Finding.NO_WORSE
    return Row(
        what="errors", stable=f"{stable.errors} of {stable.answers}", canary=f"{canary.errors} of {canary.answers}",
        difference=f"{low:+.1%} to {high:+.1%}, at most {ERRORS_MARGIN:+.0%}", finding=finding,
    )  # fmt: skip


def latency(stable: Seen, canary: Seen) -> Row:
    """The ratio of the median latencies as the users saw them, waiting included, in seconds that both answered in."""
    both = sorted(set(stable.seconds) & set(canary.seconds))
    if len(both) < SECONDS_MIN:
        told, finding = f"{len(both)} seconds with answers of both, of {SECONDS_MIN}", Finding.TOO_LITTLE
    else:
        ratio, low, high = median_ratio(canary, stable, both)
        told = f"x {low:.2f} to {high:.2f}, at most {1 + LATENCY_MARGIN:.2f}"
        if low > 1 and ratio > 1 + LATENCY_MARGIN:
            finding = Finding.WORSE
        elif high > 1 + LATENCY_MARGIN:
            finding = Finding.TOO_LITTLE
        else:
            finding = Finding.BETTER if high < 1 - LATENCY_MARGIN else Finding.NO_WORSE
    return Row(
        what="latency p50 / p99 ms", stable=_quantiles(stable.latency_ms), canary=_quantiles(canary.latency_ms),
        difference=told, finding=finding,
    )  # fmt: skip


def served(registered: Accuracy, answers: Sequence[tuple[Accuracy | None, int]]) -> Accuracy:
    """The accuracy of what answered: each variant's own where it has one, weighted by how many answers it gave.

    `n` is the smallest of theirs: variants are measured on the same items, and more of them are not more items. Of
    figures that are not all measured the result is none that can be judged, and its `n` is 0.
    """
    each = [(own or registered, count) for own, count in answers if count > 0] or [(registered, 1)]
    if len({own for own, _ in each}) == 1:
        return each[0][0]
    total = sum(count for _, count in each)
    measured = all(own.provenance == "measured" and own.n > 0 for own, _ in each)
    return Accuracy(
        value=sum(own.value * count for own, count in each) / total,
        provenance="measured" if measured else "published",
        source=f"of {len(each)} variants, by their answers",
        n=min(own.n for own, _ in each) if measured else 0,
    )


def accuracy(stable: Seen, canary: Seen) -> Row:
    """The measured accuracies of what answered, if their counts are known."""
    old, new = stable.accuracy, canary.accuracy
    finding = None
    told = "not measured for both"
    if old.n > 0 and new.n > 0:
        low, high = difference((new.value * new.n, new.n), (old.value * old.n, old.n))
        told = f"{low:+.1%} to {high:+.1%}"
        finding = Finding.WORSE if high < 0 else Finding.BETTER if low > 0 else Finding.NO_WORSE
    return Row(
        what="accuracy as measured", stable=f"{old.value:.4g}", canary=f"{new.value:.4g}", difference=told,
        finding=finding,
    )  # fmt: skip


def agreement(stable: Seen, canary: Seen, *, same: int, asked: int) -> Row:
    """Versions that are right with a and b are both right, so of one mind, in at least a + b - 1 of the cases.

    Where they agree less than that, one of them is less accurate on these queries than was measured.
    """
    old, new = stable.accuracy, canary.accuracy
    least = max(0.0, old.value + new.value - 1) if old.n > 0 and new.n > 0 else AGREEMENT_MIN
    low, high = wilson(same, asked)
    finding = Finding.WORSE if high < least else Finding.NO_WORSE
    if asked < AGREEMENT_N:
        finding = Finding.TOO_LITTLE
    return Row(
        what="same answer", stable="", canary=f"{same} of {asked}",
        difference=f"{low:.1%} to {high:.1%}, at least {least:.1%}", finding=finding,
    )  # fmt: skip


def difference(one: tuple[float, int], other: tuple[float, int]) -> tuple[float, float]:
    """The 95 % interval of the difference of two shares, each (count, of how many); (-1, 1) without data.

    Source: Newcombe 1998, method 10: Wilson's intervals, put together.
    """
    if one[1] == 0 or other[1] == 0:
        return -1.0, 1.0
    (p, (low_p, high_p)), (q, (low_q, high_q)) = ((count / n, wilson(count, n)) for count, n in (one, other))
    return (
        p - q - math.hypot(p - low_p, high_q - q),
        p - q + math.hypot(high_p - p, q - low_q),
    )


def median_ratio(one: Seen, other: Seen, seconds: Sequence[int]) -> tuple[float, float, float]:
    """The ratio of two medians over these seconds, and its 95 % interval.

    A bootstrap, with a fixed seed, that draws whole seconds: queries of one second wait in the same queues, so that
    single answers are not independent, and both versions have the same load in each draw.
    """
    rng = np.random.default_rng(SEED)
    sides = [_Side(seen, seconds) for seen in (one, other)]
    whole = np.ones(len(seconds))
    draws = [rng.multinomial(len(seconds), whole / len(seconds)) for _ in range(RESAMPLES)]
    low, high = np.quantile([sides[0].median(draw) / sides[1].median(draw) for draw in draws], (0.025, 0.975))
    return sides[0].median(whole) / sides[1].median(whole), float(low), float(high)


class _Side:
    """One version's latencies in order, and the second of each."""

    def __init__(self, seen: Seen, seconds: Sequence[int]) -> None:
        index = {second: n for n, second in enumerate(seconds)}
        kept = sorted((ms, index[at]) for ms, at in zip(seen.latency_ms, seen.seconds, strict=True) if at in index)
        self._ms = np.array([ms for ms, _ in kept])
        self._second = np.array([at for _, at in kept])

    def median(self, weights: np.ndarray[Any, Any]) -> float:
        """With each second counted so often."""
        below = np.cumsum(weights[self._second])
        return max(1e-9, float(self._ms[np.searchsorted(below, below[-1] / 2)]))


def _quantiles(latency_ms: Sequence[float]) -> str:
    if not len(latency_ms):
        return "none"
    p50, p99 = np.quantile(latency_ms, (0.5, 0.99))
    return f"{p50:.1f} / {p99:.1f}"
