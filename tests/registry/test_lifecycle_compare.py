"""Verdicts on a canary: what the intervals show, and how often they are wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from registry.lifecycle_compare import (
    Comparison,
    Finding,
    Seen,
    agreement,
    compare,
    difference,
    errors,
    latency,
    median_ratio,
    served,
)
from registry.records import Accuracy

GOOD = Accuracy(value=0.95, provenance="measured", n=1_000)


def seen(
    version: str = "1", *, ok: int = 1_000, bad: int = 0, ms: Sequence[float] = (), accuracy: Accuracy = GOOD,
    over_s: int = 20,
) -> Seen:  # fmt: skip
    """Answers spread evenly over so many seconds."""
    ms = ms or [10.0 + n % 7 for n in range(300)]
    return Seen(
        version=version, ok=ok, errors=bad, latency_ms=ms, seconds=[n % over_s for n in range(len(ms))],
        accuracy=accuracy,
    )  # fmt: skip


def judged(canary: Seen, *, same: int = 97, asked: int = 100, stable: Seen | None = None) -> Comparison:
    return compare("m", stable or seen("1"), canary, same=same, asked=asked)


def findings(comparison: Comparison) -> list[Finding | None]:
    return [row.finding for row in comparison.rows]


def test_compare_equal_versions_is_no_worse() -> None:
    """With enough answers every interval keeps its margin."""
    assert findings(judged(seen("2"))) == [Finding.NO_WORSE] * 4
    assert judged(seen("2")).verdict is Finding.NO_WORSE


def test_compare_more_errors_is_worse() -> None:
    """20 of 200 where the stable version has 5 of 1,000."""
    got = judged(seen("2", ok=180, bad=20), stable=seen("1", ok=995, bad=5))

    assert got.rows[0].finding is got.verdict is Finding.WORSE
    assert got.rows[0].stable == "5 of 1000"


def test_served_accuracy_is_that_of_the_variants_that_answered() -> None:
    """By their answers; a variant without a figure of its own has the model's; the items are the same for all."""
    int8 = Accuracy(value=0.85, provenance="measured", n=799)

    assert served(GOOD, [(int8, 300), (None, 100), (int8, 0)]) == Accuracy(
        value=0.875, provenance="measured", source="of 2 variants, by their answers", n=799
    )
    assert served(GOOD, [(int8, 5), (int8, 7)]) == int8
    assert served(GOOD, [(None, 7)]) == served(GOOD, []) == GOOD


def test_served_accuracy_with_a_guess_in_it_is_not_judged() -> None:
    """A published figure has no counts, and neither has a mean with one in it."""
    guess = Accuracy(value=0.6, provenance="published", source="less the disagreement")
    mixed = served(GOOD, [(guess, 1), (None, 1)])

    assert (mixed.provenance, mixed.n) == ("published", 0)
    assert judged(seen("2", accuracy=mixed)).rows[2].finding is None


def test_compare_few_answers_is_too_little_data() -> None:
    """40 answers without an error may hide more than the margin; and so may no answer at all."""
    assert judged(seen("2", ok=40)).verdict is Finding.TOO_LITTLE
    assert errors(seen("1"), seen("2", ok=0)).finding is Finding.TOO_LITTLE
    assert judged(seen("2"), same=9, asked=10).verdict is Finding.TOO_LITTLE


def test_compare_slower_is_worse_and_faster_is_better() -> None:
    """By the median, beyond the margin; with few answers it stays open."""
    slow, fast = [float(20 + n % 5) for n in range(300)], [float(2 + n % 3) for n in range(300)]

    assert latency(seen("1"), seen("2", ms=slow)).finding is Finding.WORSE
    assert latency(seen("1"), seen("2", ms=fast)).finding is Finding.BETTER
    assert judged(seen("2", ms=fast)).verdict is Finding.BETTER
    assert latency(seen("1"), seen("2", ms=slow, over_s=9)).finding is Finding.TOO_LITTLE


def test_compare_measured_accuracy_decides_if_both_have_counts() -> None:
    """.80 against .95 of 1,000 each is worse; without counts nothing is said."""
    low = Accuracy(value=0.80, provenance="measured", n=1_000)

    assert judged(seen("2", accuracy=low), same=80).rows[2].finding is Finding.WORSE
    assert judged(seen("2", accuracy=Accuracy(value=0.5, provenance="published"))).rows[2].finding is None


def test_agreement_below_what_the_accuracies_imply_is_worse() -> None:
    """Versions right with .95 each agree in .90 at least: 60 of 100 shows that one is not so good on this traffic."""
    assert agreement(seen("1"), seen("2"), same=60, asked=100).finding is Finding.WORSE
    assert agreement(seen("1"), seen("2"), same=90, asked=100).finding is Finding.NO_WORSE
    poor = Accuracy(value=0.6, provenance="measured", n=1_000)
    assert agreement(seen("1"), seen("2", accuracy=poor), same=60, asked=100).finding is Finding.NO_WORSE


def test_difference_known_values() -> None:
    """Newcombe 1998b, table II, method 10: 56/70 - 48/80, 9/10 - 3/10, 0/10 - 0/20."""
    assert difference((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference((9, 10), (3, 10)) == pytest.approx((0.1705, 0.8090), abs=5e-5)
    assert difference((0, 10), (0, 20)) == pytest.approx((-0.1611, 0.2775), abs=5e-5)


def test_median_ratio_covers_one_for_equal_versions() -> None:
    """Of 60 trials at most eight intervals miss 1 (three are expected), though each second has its own load."""
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(60):
        load = rng.lognormal(0, 1, 30)
        few, many = (
            seen(ms=[float(load[n % 30] * x) for n, x in enumerate(rng.lognormal(2, 0.3, count))], over_s=30)
            for count in (90, 300)
        )
        _, low, high = median_ratio(few, many, range(30))
        missed += not low <= 1 <= high

    assert missed <= 8


def test_median_ratio_of_one_burst_a_second_is_not_sure_of_a_chance() -> None:
    """300 answers in ten bursts are ten observations: the interval is as wide as theirs, not as that of 300."""
    rng = np.random.default_rng(7)
    bursts = rng.lognormal(2, 0.5, 10)
    one = seen(ms=[float(bursts[n % 10]) for n in range(300)], over_s=10)
    other = seen(ms=[float(x) for x in np.tile(rng.lognormal(2, 0.5, 10), 30)], over_s=10)
    _, low, high = median_ratio(one, other, range(10))

    assert high / low > 1.5
