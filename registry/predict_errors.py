"""How wrong predictions are, found by leaving out what was measured: single points, and whole variants.

A left out point widens the gap that its neighbours must bridge, so these errors are rather too large than too small
for the points that are then predicted between them.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from registry.latency import Point
from registry.predict import CHORDS, ERROR_MIN, METHODS, Curve, Known, Method, Operators, complete

QUANTILE = 0.9  # of the errors left out points had: the margin that holds for nine predictions of ten
ERROR_UNKNOWN = 0.5  # where nothing could be left out
CLEARLY = 0.7  # of the plain method's error
POINTS_MIN = 3  # of a variant, for one of them to be left out


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """One left out point. `inside`: between points that were left in. Errors are predicted / measured - 1."""

    variant: str
    family: str
    batch: int
    method: Method
    inside: bool
    p50: float
    p99: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the error table: relative errors of a family's left out points under one method."""

    family: str
    method: Method
    inside: bool
    points: int
    p50_median: float
    p50_p90: float
    p99_under_p90: float  # how far the measured p99 lay above the predicted one, at the 90th percentile
    chosen: bool = False


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The method for a family, and the margin on a predicted p99 by whether it lies between measured sizes."""

    method: Method
    error: Mapping[bool, float]


def left_out(known: Iterable[Known], methods: Sequence[Method] = METHODS) -> list[Missed]:
    """Each point of each variant predicted from its others, by each method."""
    found = []
    for one in known:
        if len(one.points) < POINTS_MIN:
            continue
        for point in one.points:
            rest = one.without(point.batch)
            batches = [p.batch for p in rest.points]
            inside = min(batches) < point.batch < max(batches)
            for method in methods:
                if method.base == "operators" and not one.operators:
                    continue
                curve = Curve(rest, method)
                found.append(
                    Missed(
                        variant=one.variant, family=one.family, batch=point.batch, method=method, inside=inside,
                        p50=curve.p50_us(point.batch) / point.p50_us - 1.0,
                        p99=curve.p99_us(point.batch) / point.p99_us - 1.0,
                    )
                )  # fmt: skip
    return found


def table(missed: Iterable[Missed]) -> list[Row]:
    """Errors by family, method and position; the chosen method of each family marked."""
    groups: dict[tuple[str, Method, bool], list[Missed]] = defaultdict(list)
    for one in missed:
        groups[one.family, one.method, one.inside].append(one)
    rows = [
        Row(
            family=family, method=method, inside=inside, points=len(group),
            p50_median=statistics.median(abs(m.p50) for m in group),
            p50_p90=_quantile([abs(m.p50) for m in group]),
            p99_under_p90=_quantile([_under(m.p99) for m in group]),
        )
        for (family, method, inside), group in groups.items()
    ]  # fmt: skip
    best = {family: _best([row for row in rows if row.family == family]) for family in {row.family for row in rows}}
    return sorted(
        (msgspec.structs.replace(row, chosen=row.method == best[row.family]) for row in rows),
        key=lambda row: (row.family, not row.inside, not row.chosen, row.p50_median),
    )


def choose(missed: Sequence[Missed], *, family: str) -> Choice:
    """The method that erred least on the family's left out points, with its errors as margins.

    A family without a variant that has points enough is judged by all the others; without those, nothing is known
    of the errors, and the margin is `ERROR_UNKNOWN`.
    """
    own = [one for one in missed if one.family == family] or [
        msgspec.structs.replace(one, family=family) for one in missed if one.method.base != "operators"
    ]
    rows = [row for row in table(own) if row.chosen]
    if not rows:
        return Choice(method=CHORDS, error={True: ERROR_UNKNOWN, False: ERROR_UNKNOWN})
    by_position = {row.inside: max(ERROR_MIN, row.p99_under_p90) for row in rows}
    widest = max(by_position.values())
    return Choice(
        method=rows[0].method,
        error={True: by_position.get(True, widest), False: by_position.get(False, max(widest, ERROR_UNKNOWN))},
    )


def predicted(
    known: Iterable[Known], missed: Sequence[Missed], sizes: Mapping[str, Sequence[int]]
) -> dict[str, tuple[Point, ...]]:
    """All points of each variant; those that were not measured have the error that its family had in `missed`."""
    known = list(known)
    choices = {family: choose(missed, family=family) for family in {one.family for one in known}}
    made = {}
    for one in known:
        choice = choices[one.family]
        method = CHORDS if choice.method.base == "operators" and not one.operators else choice.method
        made[one.variant] = complete(one, sizes[one.variant], method, error=choice.error)
    return made


def unseen(known: Sequence[Known]) -> list[Missed]:
    """Each variant predicted from its operators alone, corrected by what the other variants of its family show.

    The correction is the median, by size, of measured time over the operators' sum.
    """
    found = []
    for one in known:
        others = [k for k in known if k.family == one.family and k.variant != one.variant and k.operators]
        if not one.operators or not others:
            continue
        ratios: dict[int, list[float]] = defaultdict(list)
        for other in others:
            total = Operators(other.operators)
            for point in other.points:
                ratios[point.batch].append(point.p50_us / total(point.batch))
        total = Operators(one.operators)
        for point in one.points:
            if point.batch not in ratios:
                continue
            p50 = total(point.batch) * statistics.median(ratios[point.batch]) / point.p50_us - 1.0
            found.append(
                Missed(
                    variant=one.variant, family=one.family, batch=point.batch, method=Method("operators", 0.0),
                    inside=False, p50=p50, p99=p50,
                )
            )  # fmt: skip
    return found


def _best(rows: Sequence[Row]) -> Method:
    """The line through all points, unless another errs less by `CLEARLY`: median and tail together, both positions.

    Few points are left out of a few variants, and every method's errors are mostly noise: the least of eight is no
    better on new data than the plainest (median 6.0 and 8.9 % against 5.9 and 8.8 %, in two halves of a profile).
    """
    score: dict[Method, float] = {}
    points: dict[Method, int] = {}
    for method in METHODS:
        mine = [row for row in rows if row.method == method]
        if mine:
            points[method] = sum(row.points for row in mine)
            score[method] = sum(row.points * (row.p50_median + row.p50_p90) for row in mine) / points[method]
    whole = [method for method in score if points[method] == max(points.values())]  # not: of some variants only
    best = min(whole, key=lambda method: (round(score[method], 6), METHODS.index(method)))
    return best if CHORDS not in whole or score[best] < CLEARLY * score[CHORDS] else CHORDS


def _under(error: float) -> float:
    """Predicted / measured - 1, as what must be added to the predicted: measured / predicted - 1 if positive."""
    return max(0.0, 1.0 / (1.0 + error) - 1.0)


def _quantile(values: Sequence[float]) -> float:
    return float(np.quantile(np.asarray(values), QUANTILE, method="higher"))
