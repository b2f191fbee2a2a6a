"""The executor's machine by example: whole command lists, with the rules of builders.Bench checked at every event."""

from __future__ import annotations

from executors.deadlines import SPARE
from executors.events import (
    BatchFinished,
    Deliver,
    Draining,
    Expire,
    Fail,
    HandBack,
    RunBatch,
    Spoiled,
    VariantLoaded,
    VariantUnloaded,
)
from registry.latency import LatencyProfile, Point
from streams.clock import NEVER
from tests.executors.builders import MS, T0, Bench, ran

# CURVE runs 1, 2, 3, 4 jobs in 3, 4, 5, 6 ms. At 600/s four are worth waiting for, at 333/s two, at rest one.


def test_machine_at_rest_runs_at_once() -> None:
    """Nothing else is to be expected, so the first job runs alone."""
    bench = Bench()
    a = bench.job(100)

    assert bench.arrive(a) == [ran(1, a, reason="target", target=1, slack_ms=97)]


def test_machine_fires_at_target() -> None:
    """The second of two makes the batch worth its start."""
    bench = Bench().busy(333)
    a, b = bench.job(100), bench.job(100)

    assert bench.arrive(a) == []
    assert bench.arrive(b) == [ran(1, a, b, reason="target", target=2, slack_ms=96)]


def test_machine_runs_a_full_batch_by_deadline() -> None:
    """Four is the cap; the earliest deadlines go first, in their order, and the fifth waits for the core."""
    bench = Bench().busy(600)
    a, b, c, d, e = (bench.job(ms) for ms in (90, 80, 99, 70, 60))

    assert bench.arrive(a, b, c, d, e) == [ran(1, e, d, b, a, reason="full", target=4, slack_ms=54)]


def test_machine_waits_until_the_frontrun_instant() -> None:
    """16 ms is the last start at which a batch of two would still be in time for 20 ms."""
    bench = Bench().busy(600)
    a = bench.job(20)

    assert bench.arrive(a) == []
    assert bench.machine.next_wake_us == T0 + 16 * MS
    assert bench.tick(15.999) == []
    assert bench.tick(16) == [ran(1, a, reason="frontrun", target=4, slack_ms=1)]


def test_machine_phi_and_reserve_shorten_the_wait() -> None:
    """Half of the way to the frontrun, which is 3 ms earlier for the way back."""
    bench = Bench(phi=0.5, reserve_us=3 * MS).busy(600)
    a = bench.job(20)

    assert bench.arrive(a) == []
    assert bench.machine.next_wake_us == T0 + 6_500
    assert bench.tick(6.5) == [ran(1, a, reason="frontrun", target=4, slack_ms=7.5)]


def test_machine_without_deadline_runs_at_once() -> None:
    """However high the rate: there is no slack to spend for those that have no deadline."""
    bench = Bench().busy(600)
    a = bench.job()

    assert bench.arrive(a) == [ran(1, a, reason="eager", target=4, slack_ms=None)]


def test_machine_free_place_is_taken_by_the_patient_where_it_costs_next_to_nothing() -> None:
    """A device that is as quick with two: one rides along with the timed job, as far as the head can bear it."""
    flat = LatencyProfile(
        [Point(batch=1, p50_us=3_900, p99_us=3_900), Point(batch=4, p50_us=4_200, p99_us=4_200)], batch_max=4
    )
    bench = Bench(curve=flat).busy(600)
    first, a, b, c = bench.job(), bench.job(13.1), bench.job(), bench.job()
    bench.arrive(first)
    bench.arrive(a, b, c)

    got = bench.at(9.1).tell(BatchFinished(1, 3_900))

    assert got == [Deliver(first, 1, 0), ran(2, a, b, reason="frontrun", target=3, slack_ms=0)]


def test_machine_nobody_rides_along_who_would_prolong_the_batch() -> None:
    """A second one takes a third longer here."""
    bench = Bench().busy(600)
    first, a, b = bench.job(), bench.job(13), bench.job()
    bench.arrive(first)
    bench.arrive(a, b)

    got = bench.at(9).finish(1)

    assert got == [Deliver(first, 1, 0), ran(2, a, reason="frontrun", target=4, slack_ms=1)]


def test_machine_patient_batch_leaves_half_the_room_of_those_with_a_deadline() -> None:
    """Of 11 ms 3 are its own batch; so 4 ms, in which two run, until 10 s after the last of them four."""
    bench = Bench()
    timed, patient = bench.job(11), [bench.job() for _ in range(9)]
    bench.arrive(timed)
    bench.arrive(*patient)

    two = bench.at(3).finish(1)
    assert two == [Deliver(timed, 1, 0), ran(2, *patient[:2], reason="target", target=2, slack_ms=None)]
    four = bench.at(10_001).finish(2)
    assert four[2:] == [ran(3, *patient[2:6], reason="target", target=4, slack_ms=None)]


def test_machine_queued_job_expires_at_its_deadline() -> None:
    """The core is busy; the deadline does not wait for it."""
    bench = Bench()
    first, a = bench.job(), bench.job(10)
    bench.arrive(first)
    bench.arrive(a)

    assert bench.machine.next_wake_us == T0 + 10 * MS
    assert bench.tick(9.999) == []
    assert bench.tick(10) == [Expire(a, "deadline_passed")]


def test_machine_running_job_expires_and_its_result_is_not_delivered() -> None:
    """The batch runs on for the other; the expired one has had its answer."""
    bench = Bench()
    a, b = bench.job(10), bench.job(50)
    bench.arrive(a, b)

    assert bench.tick(10) == [Expire(a, "deadline_passed")]
    assert bench.at(20).finish(1) == [Deliver(b, 1, 1)]


def test_machine_undecoded_job_expires_and_is_forgotten() -> None:
    """What the decoder brings later, good or spoiled, changes nothing."""
    bench = Bench()
    a, b = bench.job(10, ready=False), bench.job(10, ready=False)

    assert bench.arrive(a, b) == []
    assert bench.tick(10) == [Expire(a, "deadline_passed"), Expire(b, "deadline_passed")]
    assert bench.prepared(a) == []
    assert bench.tell(Spoiled(b)) == []
    assert [r.queued for r in bench.machine.reports(now_us=bench.now_us)] == [0]


def test_machine_decoded_job_runs() -> None:
    """An undecoded job is no part of a batch until it is ready."""
    bench = Bench()
    a = bench.job(100, ready=False)

    assert bench.arrive(a) == []
    assert bench.prepared(a) == [ran(1, a, reason="target", target=1, slack_ms=97)]


def test_machine_spoiled_input_fails_alone() -> None:
    """It never ran, so there is no batch to name."""
    bench = Bench()
    a = bench.job(100, ready=False)
    bench.arrive(a)

    assert bench.tell(Spoiled(a)) == [Fail(a, None)]


def test_machine_late_ok_runs_after_work_that_is_in_time() -> None:
    """`late` missed its deadline in the queue: it is not expired, and waits for the one that is in time."""
    bench = Bench()
    first, late, a = bench.job(), bench.job(10, late_ok=True), bench.job(40)
    bench.arrive(first)
    bench.arrive(late, a)

    assert bench.tick(10) == []
    assert bench.at(12).finish(1) == [Deliver(first, 1, 0), ran(2, a, reason="target", target=1, slack_ms=25)]
    assert bench.at(15).finish(2) == [Deliver(a, 2, 0), ran(3, late, reason="eager", target=4, slack_ms=-8)]
    assert bench.tick(1_000) == []
    assert bench.finish(3) == [Deliver(late, 3, 0)]


def test_machine_late_ok_is_not_expired_while_it_runs_or_is_decoded() -> None:
    """Wherever its deadline finds it, it is answered with its result."""
    bench = Bench()
    a, b = bench.job(10, late_ok=True), bench.job(10, late_ok=True, ready=False)
    bench.arrive(a, b)

    assert bench.tick(10) == []
    assert bench.at(20).finish(1) == [Deliver(a, 1, 0)]
    assert bench.prepared(b) == [ran(2, b, reason="eager", target=1, slack_ms=-13)]


def test_machine_window_drop_lets_go_whom_the_batch_cannot_save() -> None:
    """At 10 ms nothing ends by 12; that one is told at once, and the other three run together."""
    bench = Bench()
    first, *jobs = bench.job(), bench.job(12), bench.job(30), bench.job(30), bench.job(30)
    bench.arrive(first)
    bench.arrive(*jobs)

    assert bench.at(10).finish(1) == [
        Deliver(first, 1, 0),
        Expire(jobs[0], "would_be_late"),
        ran(2, *jobs[1:], reason="target", target=1, slack_ms=15),
    ]


def test_machine_window_drop_off_lets_nobody_go() -> None:
    """The ablation: the head runs though it will be late."""
    bench = Bench(window_drop=False)
    first, a = bench.job(), bench.job(12)
    bench.arrive(first)
    bench.arrive(a)

    assert bench.at(10).finish(1) == [Deliver(first, 1, 0), ran(2, a, reason="eager", target=1, slack_ms=-1)]


def test_machine_bad_input_fails_alone() -> None:
    """A batch of four with one bad input is halved until that one is left: the other three are delivered."""
    bench = Bench().busy(600)
    a, bad, c, d = bench.job(100), bench.job(100, ref="bad"), bench.job(100), bench.job(100)
    bench.arrive(a, bad, c, d)

    assert bench.fail(1) == [ran(2, a, bad, reason="retry", target=2, slack_ms=96)]
    assert bench.fail(2) == [ran(3, c, d, reason="retry", target=2, slack_ms=96)]
    assert bench.finish(3) == [Deliver(c, 3, 0), Deliver(d, 3, 1), ran(4, a, reason="retry", target=1, slack_ms=97)]
    assert bench.finish(4) == [Deliver(a, 4, 0), ran(5, bad, reason="retry", target=1, slack_ms=97)]
    assert bench.fail(5) == [Fail(bad, 5)]


def test_machine_part_that_waits_to_run_again_expires_in_time() -> None:
    """A retry waits for the core like anyone else, and its deadline counts."""
    bench = Bench()
    a, b = bench.job(10), bench.job(50)
    bench.arrive(a, b)
    bench.fail(1)  # a runs again, b waits

    assert bench.tick(10) == [Expire(a, "deadline_passed")]
    assert bench.tick(50) == [Expire(b, "deadline_passed")]
    assert bench.finish(2) == []


def test_machine_draining_hands_back_what_does_not_run() -> None:
    """Queued and undecoded jobs go back, whatever their deadline; what runs is finished; nothing more is taken."""
    bench = Bench()
    a, b, c, d, e = bench.job(), bench.job(50), bench.job(), bench.job(50, ready=False), bench.job(50)
    bench.arrive(a)
    bench.arrive(b, c, d)

    assert bench.tell(Draining()) == [HandBack(b), HandBack(c), HandBack(d)]
    assert bench.arrive(e) == [HandBack(e)]
    assert bench.finish(1) == [Deliver(a, 1, 0)]
    assert bench.prepared(d) == []
    assert bench.machine.next_wake_us == NEVER


def test_machine_draining_runs_what_would_have_waited_for_others() -> None:
    """A core is free, and nothing more will come: the two run now, as the last batch; what has no core goes back."""
    bench = Bench(("v", 1), ("w", 1)).busy(600).busy(600, "w")
    a, b, c = bench.job(20), bench.job(30), bench.job(40, variant="w")

    assert bench.arrive(a, b, c) == []
    assert bench.tell(Draining()) == [ran(1, a, b, reason="drain", target=4, slack_ms=16), HandBack(c)]
    assert bench.finish(1) == [Deliver(a, 1, 0), Deliver(b, 1, 1)]


def test_machine_smaller_cap_while_a_larger_batch_runs_is_learnt_afterwards() -> None:
    """A new profile may have a smaller cap than the batch that runs: it is delivered, a failed one cut to fit."""
    for fails in (False, True):
        bench = Bench().busy(600)
        jobs = [bench.job(100) for _ in range(4)]
        bench.arrive(*jobs)
        bench.tell(VariantLoaded(variant="v", latency=LatencyProfile.linear(fixed_us=1, per_item_us=1, batch_max=1)))
        got = bench.fail(1) if fails else bench.finish(1)

        assert [type(command) for command in got] == ([RunBatch] if fails else [Deliver] * 4)
        while bench.running:
            bench.finish(max(bench.running))
        assert len(bench.ends) == 4


def test_machine_reports_patient_jobs_apart() -> None:
    """Of six that wait, the timed ones overtake the other three: who predicts for them must not count those."""
    bench = Bench()
    bench.arrive(bench.job())
    bench.arrive(*(bench.job() for _ in range(2)), *(bench.job(100) for _ in range(2)))
    bench.arrive(bench.job(ready=False), bench.job(100, ready=False))

    report = bench.machine.reports(now_us=bench.now_us)[0]
    assert (report.queued, report.patient, report.running) == (6, 3, 1)


def test_machine_reports_when_an_instance_is_free() -> None:
    """One of `v` on two cores is busy for l(1) = 2 ms, though a core is free; `w` has another one."""
    bench = Bench(cores=2)
    for variant in ("v", "w"):
        bench.load(variant, lanes=1)
    bench.arrive(bench.job(), bench.job())

    said = {report.variant: report for report in bench.machine.reports(now_us=bench.now_us)}
    assert (said["v"].lanes, said["w"].free_us, bench.machine.busy_us(bench.now_us)) == (1, 0, 0)
    assert said["v"].free_us > 0


def test_machine_result_that_comes_at_the_deadline_is_expired() -> None:
    """No answer goes out as in time after its deadline, even if no tick came in between."""
    bench = Bench()
    a, b = bench.job(10), bench.job(11)
    bench.arrive(a, b)

    assert bench.at(10).finish(1) == [Expire(a, "deadline_passed"), Deliver(b, 1, 1)]


def test_machine_forgets_finished_jobs_long_before_their_deadlines() -> None:
    """One open job with a near deadline does not keep thousands of finished ones, with their inputs, in memory."""
    bench = Bench(("v", 1), ("w", 1), cores=2)
    bench.arrive(bench.job(100, variant="w"))
    for _ in range(3 * SPARE):
        bench.arrive(bench.job(86_400_000))
        bench.finish(max(bench.running))

    assert len(bench.machine._deadlines._heap) <= SPARE + 3


def test_machine_counts_what_its_instances_did() -> None:
    """Batches and their time whether they failed or not; of the jobs those that were answered in time."""
    bench = Bench()
    a, b, late = bench.job(100), bench.job(100), bench.job(5, late_ok=True)
    bench.arrive(a)
    bench.at(4).finish(1)
    bench.arrive(late)
    bench.at(14).finish(2)
    bench.arrive(b)
    bench.at(17).fail(3)
    report = bench.machine.reports(now_us=bench.now_us)[0]

    assert (report.done, report.batches, report.busy_us) == (1, 3, 17 * MS)
    bench.tell(VariantUnloaded("v"))
    bench.load()
    report = bench.machine.reports(now_us=bench.now_us)[0]
    assert (report.done, report.batches, report.busy_us) == (0, 0, 0)
