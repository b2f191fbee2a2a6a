"""Predicted points: exact on the predictor's own family, never falling, never free of error where data scatter."""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.latency import LatencyProfile, Point
from registry.predict import ERROR_MIN, METHODS, Curve, Known, Method, Operators, complete, nonnegative
from registry.predict_errors import (
    ERROR_UNKNOWN,
    Missed,
    choose,
    left_out,
    predicted,
    table,
    unseen,
)

SIZES = (1, 2, 4, 8, 16, 32, 64)
OTHERS = Path(__file__).parents[3] / "shared" / "data"  # profiles of other projects, not part of this one


def points(took: dict[int, float], *, tail: float = 1.5) -> tuple[Point, ...]:
    return tuple(
        Point(batch=b, p50_us=max(1, round(us)), p99_us=max(1, round(us * tail))) for b, us in sorted(took.items())
    )


def known(took: dict[int, float], *, variant: str = "v", family: str = "f", **more: object) -> Known:
    return Known(variant=variant, family=family, points=points(took), **more)  # type: ignore[arg-type]


def curve(b: int, fixed: float, item: float) -> float:
    return fixed + item * b


@pytest.mark.parametrize("method", [m for m in METHODS if m.base != "operators"])
def test_curve_of_its_own_family_is_met_everywhere(method: Method) -> None:
    """Four points of a + c b tell all the others, inside and beyond."""
    of = Curve(known({b: curve(b, 5_000, 800) for b in (1, 4, 16, 64)}), method)

    for batch in (*SIZES, 3, 48, 100):
        assert of.p50_us(batch) == pytest.approx(curve(batch, 5_000, 800), rel=1e-3)
        assert of.p99_us(batch) == pytest.approx(1.5 * curve(batch, 5_000, 800), rel=2e-3)


def test_curve_that_saturates_is_met_by_the_larger_base() -> None:
    """Where a machine is not full at small batches, sqrt(b) stands in."""
    took = {b: 1_000 + 3_000 * math.sqrt(b) + 100 * b for b in SIZES}

    of = Curve(known({b: took[b] for b in (1, 4, 16, 64)}), Method("curve", 0.0))

    assert [of.p50_us(b) for b in SIZES] == pytest.approx([took[b] for b in SIZES], rel=0.02)


def test_curve_operators_are_corrected_by_what_was_measured() -> None:
    """The sum of operators misses what lies between them and beside the lane; two measured points say how much."""
    operators = {1: {"conv": 70.0, "add": 30.0}, 8: {"conv": 560.0, "add": 30.0}}  # 30 + 70 b
    of = Curve(known({1: 150, 8: 885}, operators=operators), Method("operators", 1.0))

    assert of.p50_us(1) == pytest.approx(150)
    assert of.p50_us(4) == pytest.approx(1.5 * (30 + 70 * 4), rel=1e-3)


def test_operators_that_get_faster_with_the_batch_are_held() -> None:
    """A shrinking time is noise: it counts as fixed."""
    total = Operators({1: {"a": 10.0, "gone": 5.0}, 8: {"a": 6.0, "b": 14.0}})

    assert total(1) == pytest.approx(10 + 5 + 2)
    assert total(8) >= total(4) >= total(1)


def test_complete_measured_points_stay_and_others_are_marked() -> None:
    """What was measured is not smoothed, and what was not says so, with its error by position."""
    measured = points({2: 2_000, 8: 5_000, 32: 17_000})

    made = complete(Known(variant="v", family="f", points=measured), SIZES, METHODS[0], error={True: 0.1, False: 0.4})

    assert [p for p in made if p.provenance == "measured"] == list(measured)
    errors = {p.batch: p.error for p in made if p.provenance == "predicted"}
    assert errors == {1: 0.3333, 4: 0.1, 16: 0.1, 64: 0.4}
    assert [p.p50_us for p in made if p.batch in (4, 16, 64)] == [3_000, 9_000, 33_000]


def test_complete_margin_ends_at_what_a_larger_batch_was_measured_to_take() -> None:
    """Errors of a noisy family do not make a batch of 8 slower than one of 16; a little stays in any case."""
    measured = points({4: 5_000, 16: 17_000, 64: 17_000})

    made = complete(Known(variant="v", family="f", points=measured), SIZES, METHODS[0], error={True: 9.0, False: 9.0})

    by = {p.batch: p for p in made}
    assert by[8].p99_safe_us <= by[16].p99_us + 2
    assert by[8].error == pytest.approx(by[16].p99_us / by[8].p99_us - 1, abs=1e-3)
    assert by[32].error == ERROR_MIN


def test_latency_profile_adds_the_error_of_predicted_points_to_p99_alone() -> None:
    """Deadlines get the margin; costs are of the median."""
    guess = Point(batch=2, p50_us=1_000, p99_us=2_000, provenance="predicted", error=0.25)
    profile = LatencyProfile([Point(batch=1, p50_us=500, p99_us=900), guess], batch_max=2)

    assert (profile.p50_us[1:], profile.p99_us[1:]) == ([500, 1_000], [900, 2_500])


@settings(max_examples=60, deadline=None)
@given(
    took=st.dictionaries(st.sampled_from(SIZES), st.floats(1, 1e6), min_size=1),
    method=st.sampled_from([m for m in METHODS if m.base != "operators"]),
)
def test_complete_any_points_never_fall_where_the_measured_do_not(took: dict[int, float], method: Method) -> None:
    """Positive, p99 not under p50, and a predicted point never under a smaller batch nor, where the measured points
    rise themselves, over a larger one.
    """
    rising = dict(zip(sorted(took), sorted(took.values()), strict=True))

    made = complete(known(rising), SIZES, method, error={True: 0.1, False: 0.2})

    assert [p.batch for p in made] == sorted(SIZES)
    assert all(1 <= p.p50_us <= p.p99_us for p in made)
    assert [p.p50_us for p in made] == sorted(p.p50_us for p in made)
    assert [p.p99_us for p in made] == sorted(p.p99_us for p in made)


@settings(max_examples=60, deadline=None)
@given(
    design=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=6),
    target=st.floats(0.1, 10),
)
def test_nonnegative_is_never_worse_than_any_single_term(design: list[tuple[float, ...]], target: float) -> None:
    """Coefficients are not negative, and no set of terms left aside would have fitted better alone."""
    matrix, wanted = np.asarray(design), np.full(len(design), target)

    found = nonnegative(design, list(wanted))

    assert (found >= 0).all()
    error = np.sum((matrix @ found - wanted) ** 2)
    for column in matrix.T:
        if (scale := column @ column) > 1e-9:
            alone = column * max(0.0, column @ wanted / scale)
            assert error <= np.sum((alone - wanted) ** 2) + 1e-6


def test_choose_exact_data_still_has_the_least_error() -> None:
    """Agreement of a few points is no proof: the margin never is zero."""
    choice = choose(left_out([known({b: curve(b, 100, 1_000) for b in SIZES})]), family="f")

    assert choice.error[True] == pytest.approx(ERROR_MIN, abs=1e-3)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(0.05, 0.4))
def test_choose_scattered_data_has_an_error_of_their_size(seed: int, spread: float) -> None:
    """The more the points scatter, the wider the margin: at least a tenth of the spread, whatever the draw."""
    rng = np.random.default_rng(seed)
    menu = [
        known({b: curve(b, 5_000, 900) * math.exp(rng.normal(0, spread)) for b in SIZES}, variant=f"v{n}")
        for n in range(6)
    ]

    choice = choose(left_out(menu), family="f")

    assert min(choice.error.values()) >= max(ERROR_MIN, spread / 10)


def test_choose_margin_covers_most_of_what_is_then_measured() -> None:
    """Nine of ten held back points lie under the predicted p99 with its margin, as the margin promises, roughly."""
    rng = np.random.default_rng(7)
    whole = {
        f"v{n}": points({b: curve(b, 2_000 * n, 700 * n) * math.exp(rng.normal(0, 0.1)) for b in SIZES})
        for n in range(1, 21)
    }
    menu = [
        Known(variant=name, family="f", points=tuple(p for p in of if p.batch in (1, 4, 16, 64)))
        for name, of in whole.items()
    ]

    made = predicted(menu, left_out(menu), dict.fromkeys(whole, SIZES))

    held_back = [
        (mine, true)
        for name, of in whole.items()
        for mine, true in zip(made[name], of, strict=True)
        if mine.provenance == "predicted"
    ]
    covered = statistics.mean(true.p99_us <= mine.p99_safe_us for mine, true in held_back)
    assert len(held_back) == 60
    assert covered >= 0.85


def test_choose_family_that_was_never_left_out_borrows_or_says_unknown() -> None:
    """One point of a variant teaches nothing of its errors: others' are taken, or half is added."""
    lone = known({1: 100}, family="new")

    more = known({b: curve(b, 1, 9) for b in SIZES})

    assert choose(left_out([lone]), family="new").error == {True: ERROR_UNKNOWN, False: ERROR_UNKNOWN}
    assert choose(left_out([lone, more]), family="new").error[True] < ERROR_UNKNOWN


def test_table_marks_one_method_a_family() -> None:
    """Each family has one chosen method, by both positions."""
    menu = [known({b: curve(b, 90, 10 + n) for b in SIZES}, variant=f"{n}", family=f"f{n % 2}") for n in range(4)]

    rows = table(left_out(menu))

    assert {row.family for row in rows} == {"f0", "f1"}
    assert all(len({row.method for row in rows if row.chosen and row.family == f}) == 1 for f in ("f0", "f1"))
    assert all(row.points == (10 if row.inside else 4) for row in rows)


def test_unseen_variant_is_the_sum_of_its_operators_times_what_others_show() -> None:
    """Left out whole: two variants that differ only in their operators explain each other."""
    operators = {1: {"a": 100.0}, 64: {"a": 6_400.0}}
    twice = {1: {"a": 200.0}, 64: {"a": 12_800.0}}
    menu = [
        known({b: 150 * b for b in SIZES}, variant="one", operators=operators),
        known({b: 300 * b for b in SIZES}, variant="two", operators=twice),
    ]

    found: list[Missed] = unseen(menu)

    assert len(found) == 14
    assert max(abs(one.p50) for one in found) == pytest.approx(0, abs=1e-6)


@pytest.mark.skipif(not OTHERS.is_dir(), reason="others' profiles are not part of the project")
def test_predicted_profiles_of_proteus_half_of_the_points_tell_the_other() -> None:
    """Others' hardware and models: 1, 4 and 16 measured, 2 and 8 predicted; rows with outliers of minutes left out."""
    whole: dict[str, dict[int, float]] = defaultdict(dict)
    with (OTHERS / "proteus-profiles.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["50th_pct"]:
                whole[f"{row['Model']} on {row['Accel']}"][int(row["batchsize"])] = 1_000 * float(row["50th_pct"])
    usable = {
        name: took
        for name, took in whole.items()
        if {1, 2, 4, 8, 16} <= set(took) and max(took.values()) < 9_000_000
    }  # fmt: skip

    errors = halves(usable, measured=(1, 4, 16), hidden=(2, 8))

    assert len(usable) > 50
    assert statistics.median(errors) <= 0.15
    assert np.quantile(errors, 0.9) <= 0.35


@pytest.mark.skipif(not OTHERS.is_dir(), reason="others' profiles are not part of the project")
def test_predicted_profiles_of_infless_half_of_the_points_tell_the_other() -> None:
    """CPU and GPU shares of six models: every second size that ran; 9999 and 20 s are failures, not latencies."""
    whole: dict[str, dict[int, float]] = defaultdict(dict)
    for path in sorted((OTHERS / "infless").glob("*-profile-results.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, cpu, gpu, batch, ms = line.split()
            if float(ms) != 9999 and float(ms) < 9_000:
                whole[f"{name} {cpu} {gpu}"][int(batch)] = 1_000 * float(ms)
    usable = {name: took for name, took in whole.items() if {1, 2, 4} <= set(took)}

    errors = halves(usable, measured=(1, 4, 16), hidden=(2, 8))

    assert len(usable) > 20
    assert statistics.median(errors) <= 0.15
    assert np.quantile(errors, 0.9) <= 0.35


def halves(whole: dict[str, dict[int, float]], *, measured: tuple[int, ...], hidden: tuple[int, ...]) -> list[float]:
    menu = [
        Known(variant=name, family="all", points=points({b: us for b, us in took.items() if b in measured}))
        for name, took in whole.items()
    ]
    sizes = {name: [b for b in took if b in (*measured, *hidden)] for name, took in whole.items()}
    return [
        abs(point.p50_us / whole[name][point.batch] - 1.0)
        for name, made in predicted(menu, left_out(menu), sizes).items()
        for point in made
        if point.provenance == "predicted"
    ]
