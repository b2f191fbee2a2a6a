"""How well a profile repeats, and how well points that were not measured are predicted.

Every variant is profiled twice at once, a round for the one and a round for the other, so that both see the same
neighbours: where the two differ is the noise that no predictor can go under. Then half of the points of the first
profile are hidden and predicted from the other half, and compared with the second profile, which no prediction saw.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.report import machine
from examples.store import default_out
from executors.alone import alone
from executors.hardware import usable_cores
from executors.profiling import Order, Profiled
from executors.profiling_plan import Item, half, known_of, lanes_of, sizes_of, spread
from executors.profiling_process import NotProfiled, profile_apart
from registry import manifest
from registry.latency import Point
from registry.predict import Known
from registry.predict_errors import Missed, left_out, predicted, table, unseen
from registry.records import Model, Variant

ROUNDS = 8  # four a profile
EACH_S = 6.0  # for both profiles of a variant together; `headrace profile` takes 4 for half of the sizes
VARIANTS_MAX = 24
SEED = 4
RANDOM_DRAWS = 10

Curve = Mapping[int, Point]


class Twice(msgspec.Struct, frozen=True, kw_only=True):
    """A variant's two profiles, by batch size."""

    variant: Variant
    first: Curve
    second: Curve
    operators: Mapping[int, Mapping[str, float]]
    disturbed: float


def main(*, as_json: bool) -> None:
    """The example models with each framework at each width that divides the cores."""
    console = Console(stderr=True)
    found = figures(menu(), tell=lambda line: console.print(line, highlight=False))
    if as_json:
        print(json.dumps({"benchmark": "prediction", **found, "machine": machine()}), flush=True)
        return
    lines = Table("figure", "value", title="prediction")
    for name, value in found.items():
        lines.add_row(name, str(value))
    Console().print(lines)


def menu() -> list[Item]:
    """What there is without generated variants."""
    records = manifest.read(default_out(), verify=False)
    models = {record.name: record for record in records if isinstance(record, Model)}
    cores = usable_cores()
    return [
        Item(
            variant=msgspec.structs.replace(record, name=f"{record.name}-w{width}", width=width),
            model=models[record.model],
        )
        for record in records
        if isinstance(record, Variant)
        for width in (1, 2, 4, 8)
        if width <= cores
    ]


def figures(
    items: Sequence[Item],
    *,
    pool: str = "cpu",
    cores: int | None = None,
    each_s: float = EACH_S,
    variants_max: int = VARIANTS_MAX,
    tell: Callable[[str], None] = lambda _line: None,
) -> dict[str, Any]:
    """Profile `items`, or `variants_max` of them drawn by SEED, twice each, and compare.

    Returns: relative errors of p50 (`p99` says so), 0.1 is 10 %; `predicted_covered` is the share of hidden points
             whose p99 in the second profile lay under the predicted one with its margin.
    """
    began = time.monotonic()
    rng = np.random.default_rng(SEED)
    drawn = sorted(rng.permutation(len(items))[:variants_max].tolist())
    found: list[Twice] = []
    for number in drawn:
        item = items[number]
        try:
            with alone():
                found.append(_twice(item, pool=pool, cores=cores or usable_cores(), each_s=each_s))
        except NotProfiled as why:
            tell(f"left out: {why.message}")
            continue
        tell(f"{len(found)} of {len(drawn)}: {item.variant.name}, others took {found[-1].disturbed:.0%}")
    assert found, "nothing could be profiled"
    return {**compared(found), "prediction_seconds": round(time.monotonic() - began, 1)}


def compared(found: Sequence[Twice]) -> dict[str, Any]:
    """The figures of profiles that were made twice."""
    pairs = [(one.first[b], one.second[b]) for one in found for b in one.first if b in one.second]
    repeat_p50 = [abs(b.p50_us / a.p50_us - 1.0) for a, b in pairs]
    repeat_p99 = [abs(b.p99_us / a.p99_us - 1.0) for a, b in pairs]
    errors, covered, margins, missed = _hidden(found, {one.variant.name: shown(one) for one in found})
    rng = np.random.default_rng(SEED)
    at_random: list[float] = []
    for _ in range(RANDOM_DRAWS):
        halves = {
            one.variant.name: tuple(rng.permutation(sorted(one.first))[: max(1, len(one.first) // 2)].tolist())
            for one in found
        }
        at_random += _hidden(found, halves)[0]
    alone_errors = [abs(m.p50) for m in unseen([_known(one, tuple(one.first)) for one in found])]
    return {
        "reprofiled_points": len(pairs),
        "reprofile_error_median": _median(repeat_p50),
        "reprofile_error_p90": _p90(repeat_p50),
        "reprofile_p99_error_median": _median(repeat_p99),
        "predicted_points": len(errors),
        "predicted_error_median": _median(errors),
        "predicted_error_p90": _p90(errors),
        "predicted_covered": round(statistics.mean(covered), 3) if covered else None,
        "predicted_margin_median": _median(margins),
        "random_half_error_median": _median(at_random),
        "random_half_error_p90": _p90(at_random),
        "operators_alone_error_median": _median(alone_errors),
        "operators_alone_error_p90": _p90(alone_errors),
        "others_share_median": _median([one.disturbed for one in found]),
        "predicted_by": {
            row.family: f"{row.method.base}, trust {row.method.trust:g}" for row in table(missed) if row.chosen
        },
    }


def shown(one: Twice) -> tuple[int, ...]:
    """The sizes that are not hidden: half, rounded up, two at least, spread as the profiler does."""
    sizes = sorted(one.first)
    return spread(sizes, max(2, half(sizes)))


def _hidden(
    found: Sequence[Twice], halves: Mapping[str, Sequence[int]]
) -> tuple[list[float], list[bool], list[float], list[Missed]]:
    """Errors of p50, whether p99 was covered, and margins, of the points that are not in `halves`."""
    known = [_known(one, halves[one.variant.name]) for one in found]
    missed = left_out(known)
    points = predicted(known, missed, {one.variant.name: tuple(one.first) for one in found})
    errors, covered, margins = [], [], []
    for one in found:
        for point in points[one.variant.name]:
            true = one.second.get(point.batch)
            if point.provenance == "predicted" and true is not None:
                errors.append(abs(point.p50_us / true.p50_us - 1.0))
                covered.append(true.p99_us <= point.p99_safe_us)
                margins.append(point.error)
    return errors, covered, margins, missed


def _known(one: Twice, batches: Sequence[int]) -> Known:
    return known_of(one.variant, [one.first[b] for b in sorted(batches)], operators=one.operators)


def _twice(item: Item, *, pool: str, cores: int, each_s: float) -> Twice:
    found: Profiled = profile_apart(
        Order(
            variant=item.variant, model=item.model, pool=pool, lanes=lanes_of(item.variant, cores),
            sizes=sizes_of(item.variant), budget_s=each_s, rounds=ROUNDS,
        )
    )  # fmt: skip
    first, second = ({point.batch: point for point in half} for half in found.halves)
    return Twice(
        variant=item.variant, first=first, second=second, operators=found.operators,
        disturbed=found.profile.disturbed,
    )  # fmt: skip


def _median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 4) if values else None


def _p90(values: Sequence[float]) -> float | None:
    return round(float(np.quantile(np.asarray(values), 0.9)), 4) if values else None
