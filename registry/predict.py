"""l(b) of the batch sizes that were not measured, from those that were.

A base curve times a correction. The base is one of

    line       a + c b
    curve      a + d sqrt(b) + c b + e b log2(b), which saturates where a machine is not full at small batches, and
               bends up where large ones fall out of its caches
    operators  the sum of the times that the runtime's profiler gives each operator, each a_o + c_o b (INFless's
               combined operator profiling)

with coefficients that are not negative, least squares of the relative error; so it is positive and never falls. The
correction is what the measured points say of the base: the logarithm of their ratio, linear over log b between them,
constant beyond. Its median is kept and what differs from that counts `trust` (1: through every point; 0: the level
alone, for points that are mostly noise).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from registry.latency import Point

Base = Literal["line", "curve", "operators"]


class Method(msgspec.Struct, frozen=True):
    """Which base, and how far to trust the measured points over it."""

    base: Base
    trust: float


METHODS = tuple(
    Method(base, trust)
    for base in ("line", "curve", "operators")
    for trust in (0.0, 0.5, 1.0)
    if trust or base != "line"
)
CHORDS = Method("line", 1.0)
ERROR_MIN = 0.02  # what no amount of agreement makes smaller: two runs of the same point differ by more


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one variant: measured points, and operators' times by batch size (may be empty).

    `family` is of variants that err alike: one framework and width, say.
    """

    variant: str
    family: str
    points: tuple[Point, ...]
    operators: Mapping[int, Mapping[str, float]] = {}

    def without(self, batch: int) -> Known:
        """The same, as if `batch` had not been measured."""
        return msgspec.structs.replace(self, points=tuple(p for p in self.points if p.batch != batch))


class Curve:
    """p50 and p99 as functions of the batch size.

    p99 is p50 times a ratio, whose logarithm is interpolated likewise: it depends on the machine's neighbours and the
    runtime's threads much more than on the batch.

    Raises: AssertionError on no points, or on the base `operators` without operators' times.
    """

    def __init__(self, known: Known, method: Method) -> None:
        assert known.points, f"{known.variant}: nothing measured"
        points = sorted(known.points, key=lambda p: p.batch)
        batches = [p.batch for p in points]
        self._terms = _terms(known, method.base, points)
        self._logs = [math.log(b) for b in batches]
        residual = np.log([p.p50_us / self._terms(p.batch) for p in points])
        level = np.median(residual)  # is the measured points' in any case
        self._correction = level + method.trust * (residual - level)
        self._ratio = [math.log(max(1.0, p.p99_us / p.p50_us)) for p in points]

    def p50_us(self, batch: int) -> float:
        return self._terms(batch) * math.exp(float(np.interp(math.log(batch), self._logs, self._correction)))

    def p99_us(self, batch: int) -> float:
        return self.p50_us(batch) * math.exp(float(np.interp(math.log(batch), self._logs, self._ratio)))


def complete(known: Known, sizes: Sequence[int], method: Method, *, error: Mapping[bool, float]) -> tuple[Point, ...]:
    """The measured points, and a predicted one at each other size; both quantiles never fall with the batch.

    `error` of a predicted p99 by whether the size lies between measured ones. A measured point is never changed: a
    predicted one is held between its neighbours. So is its margin, as a batch does not take longer than a larger one:
    p99 with it ends at what was measured above, but for `ERROR_MIN`.
    """
    curve = Curve(known, method)
    measured = {p.batch: p for p in known.points}
    ends = min(measured), max(measured)
    made: list[Point] = []
    for batch in sorted({*sizes, *measured}):
        if batch in measured:
            made.append(measured[batch])
            continue
        above = [p for b, p in measured.items() if b > batch]
        p50 = _between(curve.p50_us(batch), [p.p50_us for p in made], [p.p50_us for p in above])
        p99 = _between(curve.p99_us(batch), [p.p99_us for p in made], [p.p99_us for p in above])
        p99 = max(p50, p99)
        margin = error[ends[0] <= batch <= ends[1]]
        if above:
            margin = min(margin, max(0.0, min(p.p99_us for p in above) / p99 - 1.0))
        margin = round(max(ERROR_MIN, margin), 4)
        made.append(Point(batch=batch, p50_us=p50, p99_us=p99, provenance="predicted", error=margin))
    return tuple(made)


def nonnegative(
    design: Sequence[Sequence[float]], target: Sequence[float]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The non-negative least squares solution, by looking at every set of terms: there are few.

    Shapes: `design` (n, k), `target` (n,); the result (k,).
    """
    matrix, wanted = np.asarray(design, dtype=np.float64), np.asarray(target, dtype=np.float64)
    terms = matrix.shape[1]
    best, least = np.zeros(terms), float(wanted @ wanted)
    for count in range(1, min(terms, len(wanted)) + 1):
        for chosen in itertools.combinations(range(terms), count):
            part = matrix[:, chosen]
            found, *_ = np.linalg.lstsq(part, wanted, rcond=None)
            error = float(np.sum((part @ found - wanted) ** 2))
            if (found >= 0).all() and error < least - 1e-12:
                best, least = np.zeros(terms), error
                best[list(chosen)] = found
    return best


class _Sum:
    """sum of coefficient x term(b)."""

    def __init__(self, base: Literal["line", "curve"], points: Sequence[Point]) -> None:
        self._base = base
        design = [[term / p.p50_us for term in self._of(p.batch)] for p in points]
        self._coefficients = nonnegative(design, [1.0] * len(points))

    def __call__(self, batch: float) -> float:
        return max(1e-3, float(np.dot(self._coefficients, self._of(batch))))

    def _of(self, batch: float) -> tuple[float, ...]:
        if self._base == "line":
            return 1.0, batch
        return 1.0, batch, math.sqrt(batch), batch * math.log2(batch)


class Operators:
    """The sum over operators of a_o + c_o b, from their times at two sizes or more."""

    def __init__(self, times: Mapping[int, Mapping[str, float]]) -> None:
        assert times, "no operator was timed"
        low, high = min(times), max(times)
        self._fixed = self._slope = 0.0
        for name in {*times[low], *times[high]}:
            at_low, at_high = times[low].get(name, 0.0), times[high].get(name, 0.0)
            slope = max(0.0, (at_high - at_low) / max(1, high - low))
            self._slope += slope
            self._fixed += max(0.0, at_low - slope * low)

    def __call__(self, batch: float) -> float:
        return max(1e-3, self._fixed + self._slope * batch)


def _terms(known: Known, base: Base, points: Sequence[Point]) -> _Sum | Operators:
    if base == "operators":
        return Operators(known.operators)
    return _Sum(base, points)


def _between(value: float, below: Sequence[int], above: Sequence[int]) -> int:
    """`value`, but not under what smaller batches take nor over what larger ones do; the former wins."""
    return max(1, *below, round(min([value, *above])))
