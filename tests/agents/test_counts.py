"""Arrivals per class, second and partition."""

from __future__ import annotations

import pytest

from agents.counting import Counting
from agents.counts import CLASSES_MAX, OTHER, Counts, class_of, slo_bucket_ms
from streams.contract import TargetKind
from streams.records import Arrivals
from tests.agents.builders import MS, requirements


def test_complete_gives_the_seconds_that_are_over() -> None:
    """Counts per class and partition, each once, in order; the running second stays."""
    counts = Counts()
    a, b = requirements("a"), requirements("b")
    for asked, second, partition in ((a, 7, 0), (a, 7, 0), (b, 7, 0), (a, 7, 1), (a, 8, 0), (a, 9, 0)):
        counts.add(asked, second=second, partition=partition)

    done = counts.complete(before_second=9)

    ka, kb = class_of(a), class_of(b)
    assert done == [
        Arrivals(klass=ka, second=7, partition=0, count=2),
        Arrivals(klass=ka, second=7, partition=1, count=1),
        Arrivals(klass=kb, second=7, partition=0, count=1),
        Arrivals(klass=ka, second=8, partition=0, count=1),
    ]
    assert counts.complete(before_second=9) == []
    assert [one.second for one in counts.complete(before_second=10)] == [9]


def test_complete_equal_requirements_of_two_objects_are_one_class() -> None:
    """Classes are told apart by what is asked; SLOs of one bucket are one class."""
    counts = Counts()
    for slo_ms in (100, 100, 120):
        counts.add(requirements(slo_ms=slo_ms), second=1, partition=0)

    (one,) = counts.complete(before_second=2)

    assert one.count == 3


def test_complete_too_many_classes_count_together() -> None:
    """A hostile client cannot make the topic's keys grow without end; nothing goes uncounted."""
    counts = Counts()
    for index in range(CLASSES_MAX + 5):
        counts.add(requirements(f"t{index}"), second=1, partition=0)

    done = counts.complete(before_second=2)

    assert len(done) == CLASSES_MAX + 1
    assert [one.count for one in done if one.klass == OTHER] == [5]


def test_class_of_names_every_requirement() -> None:
    """Target, SLO bucket, floor, ceiling and priority: what a plan needs to know."""
    asked = requirements("digits", kind=TargetKind.MODEL, slo_ms=150, accuracy_min=0.95, cost_max=0.02, priority=7)

    assert class_of(asked) == "model=digits slo=147 acc=0.95 cost=0.02 prio=7"
    assert class_of(requirements("digits")) == "task=digits slo=any acc=0 cost=any prio=5"


@pytest.mark.parametrize(
    ("slo_ms", "bucket"),
    [
        (0.2, 1),
        (1, 1),
        (1.6, 1.5),
        (5, 4.6),
        (9.99, 6.8),
        (10, 10),
        (100, 100),
        (150, 147),
        (999, 681),
        (86_400_000, 68_129_207),
    ],
)
def test_slo_bucket_rounds_down(slo_ms: float, bucket: float) -> None:
    """Six buckets a decade: at most a third shorter than asked, never longer by more than its label's rounding."""
    assert slo_bucket_ms(round(slo_ms * MS)) == bucket


def test_running_tells_of_a_jump_before_its_second_is_over() -> None:
    """Forty a second, and thirty in a quarter of one; what was told is not told again, and counts as before."""
    counts, asked = Counts(), requirements("a")
    for second, count in ((1, 40), (2, 30)):
        for _ in range(count):
            counts.add(asked, second=second, partition=0)
    counts.complete(before_second=2)

    assert not counts.surging(2, part=0.5)
    assert counts.surging(2, part=0.25)
    told = counts.running(2, part=0.25)
    assert counts.surging(2, part=0.26)
    assert counts.running(2, part=0.26) == []
    counts.add(asked, second=2, partition=0)
    rest = counts.complete(before_second=3)

    klass = class_of(asked)
    assert told == [Arrivals(klass=klass, second=2, partition=0, count=30, part=0.25)]
    assert rest == [Arrivals(klass=klass, second=2, partition=0, count=1)]
    for _ in range(35):
        counts.add(asked, second=3, partition=0)
    assert not counts.surging(3, part=0.9)


def test_counting_tells_whole_seconds_and_at_once_what_waits_or_jumps() -> None:
    """Forty a second; in the third, more come from its beginning on; in the fourth, some of the forty wait."""
    counts, counting, asked = Counts(), Counting(), requirements("a")
    told: list[tuple[float, int, float]] = []
    arrivals = [
        (second, second + n / rate) for second, rate in ((1, 40), (2, 40), (3, 120), (4, 120)) for n in range(rate)
    ]
    for at_us in range(1_000_000, 5_010_000, 10_000):
        while arrivals and arrivals[0][1] * 1e6 <= at_us:
            counts.add(asked, second=arrivals.pop(0)[0], partition=0)
        parked = 3 if at_us >= 4_500_000 else 0
        told += [(at_us / 1e6, x.count, x.part) for x in counting.turn(counts, parked=parked, now_us=at_us)]

    seconds: dict[int, int] = {}
    for at_s, count, part in told:
        seconds[int(at_s - (part == 1.0))] = seconds.get(int(at_s - (part == 1.0)), 0) + count
    assert seconds == {1: 40, 2: 40, 3: 120, 4: 120}
    early = [(at_s, part) for at_s, _, part in told if part < 1.0]
    assert [at_s for at_s, _ in early if 2 < at_s < 4] == pytest.approx([3.26, 3.52, 3.78])
    assert [at_s for at_s, _ in early if at_s > 4] == pytest.approx([4.5])
    assert all(part == pytest.approx(at_s % 1) for at_s, part in early)
