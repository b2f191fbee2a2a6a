"""Who goes first: variants that share the cores, wide ones beside narrow ones, and those that have time."""

from __future__ import annotations

from executors.choosing import PATIENT_SHARE
from executors.events import Deliver
from executors.job import Job
from registry.latency import LatencyProfile
from tests.executors.builders import CURVE, MS, T0, Bench, ran


def test_machine_cores_bound_what_runs() -> None:
    """Two narrow batches fill two cores; the third waits for the first that ends."""
    bench = Bench(cores=2)
    a, b, c = bench.job(), bench.job(), bench.job()

    assert bench.arrive(a) == [ran(1, a, reason="eager", target=4, slack_ms=None)]
    assert bench.arrive(b) == [ran(2, b, reason="eager", target=4, slack_ms=None)]
    assert bench.machine.busy_us(bench.now_us) == 3 * MS
    assert bench.arrive(c) == []
    assert bench.finish(2) == [Deliver(b, 2, 0), ran(3, c, reason="eager", target=4, slack_ms=None)]


def test_machine_wide_variant_waits_for_all_its_cores() -> None:
    """Half of the cores would not run it at the speed that was measured."""
    bench = Bench(("thin", 1), ("wide", 2), cores=2)
    a, b = bench.job(variant="thin"), bench.job(50, variant="wide")

    assert bench.arrive(a) == [ran(1, a, reason="eager", target=4, slack_ms=None, variant="thin")]
    assert bench.arrive(b) == []
    assert bench.at(3).finish(1) == [
        Deliver(a, 1, 0),
        ran(2, b, reason="target", target=1, slack_ms=44, variant="wide"),
    ]


def test_machine_earliest_head_goes_first_among_variants() -> None:
    """Both queues could run; the tighter deadline gets the only core."""
    bench = Bench(("v", 1), ("w", 1))
    first, a, b = bench.job(), bench.job(50), bench.job(40, variant="w")
    bench.arrive(first)
    bench.arrive(a, b)

    assert bench.at(5).finish(1) == [
        Deliver(first, 1, 0),
        ran(2, b, reason="target", target=1, slack_ms=32, variant="w"),
    ]


def _batches_before(bench: Bench, patient: Job, load: str) -> int:
    """How many batches run before the patient job's, with more timed work than the core can do all the time."""
    for count in range(10 * PATIENT_SHARE):
        last = max(bench.running)
        if any(job is patient for job in bench.running[last].jobs):
            return count
        bench.now_us += CURVE.p50_us[len(bench.running[last].jobs)]
        deadline_ms = (bench.now_us - T0) / MS + 40
        bench.arrive(*(bench.job(deadline_ms, variant=load) for _ in range(8)))
        bench.finish(last)
    raise AssertionError("it starves")


def test_machine_patient_job_does_not_starve() -> None:
    """After PATIENT_SHARE batches of timed work it goes first all the same."""
    bench = Bench()
    bench.arrive(*(bench.job(40) for _ in range(8)))
    patient = bench.job()
    bench.arrive(patient)

    assert _batches_before(bench, patient, "v") == 1 + PATIENT_SHARE


def test_machine_patient_job_does_not_starve_beside_another_variant() -> None:
    """Nor where all the timed work is another variant's."""
    bench = Bench(("timed", 1), ("v", 1))
    bench.arrive(*(bench.job(40, variant="timed") for _ in range(8)))
    patient = bench.job()
    bench.arrive(patient)

    assert _batches_before(bench, patient, "timed") == 1 + PATIENT_SHARE


def test_machine_patient_job_does_not_starve_beside_patient_work_of_another_variant() -> None:
    """Two variants without deadlines take turns."""
    bench = Bench(("first", 1), ("v", 1))
    bench.arrive(*(bench.job(variant="first") for _ in range(8)))
    patient = bench.job()
    bench.arrive(patient)
    count = 0
    while not any(job is patient for job in bench.running[max(bench.running)].jobs):
        bench.arrive(*(bench.job(variant="first") for _ in range(8)))
        bench.finish(max(bench.running))
        count += 1

        assert count <= 1 + PATIENT_SHARE


def test_machine_wide_batch_is_not_starved_by_narrow_ones() -> None:
    """The earliest head is wide: the core that falls free waits for the second one rather than for the thin queue."""
    bench = Bench(("thin", 1), ("wide", 2), cores=2)
    a, b, c, d = (bench.job(variant="thin") for _ in range(4))
    bench.arrive(a)
    bench.arrive(b)
    wide = bench.job(50, variant="wide")
    bench.arrive(c, wide)

    assert bench.at(1).finish(1) == [Deliver(a, 1, 0)]
    assert bench.arrive(d) == []
    assert bench.finish(2) == [Deliver(b, 2, 0), ran(3, wide, reason="target", target=1, slack_ms=46, variant="wide")]


def test_machine_wide_part_that_runs_again_is_not_starved_by_narrow_ones() -> None:
    """Of two batches that failed, the narrow part took a core: the wide part waits for it, and nobody passes."""
    bench = Bench(("wide", 3), ("thin", 1), cores=4)
    hold, a, b = (bench.job(variant="wide") for _ in range(3))
    thin_hold, c, d, e = (bench.job(variant="thin") for _ in range(4))
    for job in (hold, thin_hold, a, b, c, d):
        bench.arrive(job)
    bench.finish(1)  # a and b run as 3
    bench.finish(2)  # c and d run as 4
    bench.fail(4)  # c runs as 5 until 3 ms, d is next
    bench.arrive(e)

    assert bench.at(1).fail(3) == [ran(6, d, reason="retry", target=1, slack_ms=None, variant="thin")]
    assert bench.finish(6) == [Deliver(d, 6, 0), ran(7, a, reason="retry", target=1, slack_ms=None, variant="wide")]


def test_machine_narrow_batch_uses_the_cores_that_a_wide_one_waits_for() -> None:
    """Three of four cores are free for 12 ms, and the wide batch wants all: a thin one of 4 ms is done before that."""
    bench = Bench(("thin", 1), ("wide", 4), ("long", 1), cores=4)
    bench.load("long", curve=LatencyProfile.linear(fixed_us=12 * MS, per_item_us=0, batch_max=1))
    hold, wide = bench.job(variant="long"), bench.job(50, variant="wide")
    thin, late = (bench.job(100, variant="thin") for _ in range(2))
    bench.arrive(hold)

    assert bench.arrive(wide) == []
    assert bench.arrive(thin) == [ran(2, thin, reason="target", target=1, slack_ms=97, variant="thin")]
    assert bench.at(3).finish(2) == [Deliver(thin, 2, 0)]
    assert bench.at(10).arrive(late) == []  # it would end after the twelfth ms, and keep the wide one from its cores
    assert bench.at(12).finish(1) == [
        Deliver(hold, 1, 0),
        ran(3, wide, reason="target", target=1, slack_ms=35, variant="wide"),
    ]


def test_machine_batch_that_overruns_lets_nobody_pass_the_wide_one() -> None:
    """When it ends is not known any more: whoever started now might keep the wide batch waiting without end."""
    bench = Bench(("thin", 1), ("wide", 2), cores=2)
    hold, wide, thin = bench.job(variant="thin"), bench.job(50, variant="wide"), bench.job(variant="thin")
    bench.arrive(hold)
    bench.arrive(wide)

    assert bench.at(3).arrive(thin) == []
    assert bench.at(20).finish(1) == [
        Deliver(hold, 1, 0),
        ran(2, wide, reason="target", target=1, slack_ms=27, variant="wide"),
    ]
