"""Dead reckoning of one executor: what it must be doing between two telemetry records."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agents.fleet import Fleet
from agents.reckoning import LOST_IDLE_US, LOST_US, Executor, Lane
from streams.records import LaneReport
from tests.agents.builders import MS, ROUTER, T0, catalog, selector, telemetry

# l(b) = 10 + 2 b ms
MENU = catalog(("a", 0.9, 10, 2), ("b", 0.8, 10, 2))


def heard(*variants: str, busy_ms: float = 0.0, queued: int = 0, cores: int = 1) -> tuple[Fleet, Executor, Lane]:
    fleet = Fleet(router=ROUTER)
    selector(MENU, fleet)
    fleet.heard(telemetry("e", *variants, busy_ms=busy_ms, queued=queued, cores=cores), now_us=T0)
    lane = fleet.lane("e", variants[0])
    assert lane is not None
    return fleet, lane.executor, lane


def test_finish_idle_executor_is_one_run_from_now() -> None:
    """Nothing ahead: l(1)."""
    _, _, lane = heard("a")

    assert lane.finish_us(T0) == T0 + 12 * MS


def test_finish_waiting_batch_is_joined() -> None:
    """Behind a running batch, with two waiting: the running one, then a batch of three."""
    _, _, lane = heard("a", busy_ms=30, queued=2)

    assert lane.finish_us(T0) == T0 + (30 + 16) * MS


def test_finish_full_batches_go_first() -> None:
    """Five wait and batches of two are taken: two full ones, then one that is full by then."""
    _, _, lane = heard("a", queued=5, busy_ms=1)
    lane.aim(2)

    assert lane.finish_us(T0) == T0 + (1 + 14 + 14 + 14) * MS


def holding(*reports: LaneReport, busy_ms: float = 0.0, cores: int = 2) -> tuple[Fleet, dict[str, Lane]]:
    """An executor that says how many instances of each variant it holds."""
    fleet = Fleet(router=ROUTER)
    selector(MENU, fleet)
    said = msgspec.structs.replace(telemetry("e", busy_ms=busy_ms, cores=cores), lanes=reports)
    fleet.heard(said, now_us=T0)
    found = {report.variant: fleet.lane("e", report.variant) for report in reports}
    return fleet, {variant: lane for variant, lane in found.items() if lane is not None}


def test_finish_one_instance_of_two_cores_is_half_as_quick_as_two() -> None:
    """Eight wait for batches of two: four full ones before it on one instance, half of that on two."""
    _, one = holding(LaneReport(variant="a", queued=8, lanes=1), LaneReport(variant="b", lanes=1))
    _, two = holding(LaneReport(variant="a", queued=8, lanes=2))
    for lanes in (one, two):
        lanes["a"].aim(2)

    assert one["a"].finish_us(T0 - 1) == T0 + (4 * 14 + 14) * MS
    assert two["a"].finish_us(T0 - 1) == T0 + (4 * 7 + 14) * MS


def test_finish_instances_with_cores_of_their_own_do_not_wait_for_others() -> None:
    """`a` is busy and has a queue; `b` has an instance and a core of its own."""
    busy = LaneReport(variant="a", queued=8, running=1, lanes=1, free_us=9 * MS)
    _, lanes = holding(busy, LaneReport(variant="b", lanes=1))
    _, tight = holding(busy, LaneReport(variant="b", lanes=2))

    assert lanes["b"].finish_us(T0) == T0 + 12 * MS
    assert lanes["a"].finish_us(T0) == T0 + (9 + 10 + 2 * 9) * MS
    assert tight["b"].finish_us(T0) > T0 + 12 * MS


def test_finish_plays_an_instance_forward() -> None:
    """Free in 5 ms it takes its two, so 6 ms later the next one waits for the rest of that batch."""
    _, lanes = holding(LaneReport(variant="a", queued=2, running=1, lanes=1, free_us=5 * MS), cores=1)

    assert lanes["a"].finish_us(T0 + 6 * MS) == T0 + (5 + 14 + 12) * MS


def test_finish_counts_what_waits_for_other_variants() -> None:
    """The variants of an executor share its cores: three of `a` delay one of `b`."""
    fleet, _, _ = heard("a", "b", queued=3, busy_ms=5)
    other = fleet.lane("e", "b")
    assert other is not None

    assert other.finish_us(T0) == T0 + (5 + 16 + 12) * MS


def test_finish_narrow_variant_holds_up_only_its_share_of_the_cores() -> None:
    """On four cores, a batch of a one-core variant delays the next start by a quarter of its time."""
    fleet, _, _ = heard("a", "b", queued=3, busy_ms=5, cores=4)
    other = fleet.lane("e", "b")
    assert other is not None

    assert other.finish_us(T0) == T0 + (5 + 4 + 12) * MS


def test_advance_plays_the_drain_forward() -> None:
    """Ten wait, batches of four: after the running batch 4, 4 and 2 start one after the other."""
    _, executor, lane = heard("a", busy_ms=5, queued=10)
    lane.aim(4)

    queued = []
    for at_ms in (4, 6, 24, 42, 60):
        if executor.busy_until_us <= T0 + at_ms * MS:
            executor.advance(T0 + at_ms * MS)
        queued.append(lane.queued)
    assert queued == [10, 6, 2, 0, 0]
    assert executor.busy_until_us == T0 + (5 + 18 + 18 + 14) * MS


def test_advance_takes_lanes_in_order_of_waiting() -> None:
    """Both variants wait; the one that has waited longer starts first."""
    fleet, executor, first = heard("a", "b", busy_ms=5)
    second = fleet.lane("e", "b")
    assert second is not None
    second.sent(T0 + 1)
    first.sent(T0 + 2)

    executor.advance(T0 + 6 * MS)

    assert (second.queued, first.queued) == (0, 1)


def test_reconcile_adds_what_was_not_read_yet() -> None:
    """Three sent, one read and still queued there: one and two make three."""
    fleet, executor, lane = heard("a", busy_ms=50)
    seqs = [lane.sent(T0) for _ in range(3)]

    fleet.heard(telemetry("e", "a", busy_ms=40, queued=1, received=seqs[0]), now_us=T0 + 10 * MS)

    assert lane.queued == 3
    assert executor.busy_until_us == T0 + 50 * MS


def test_reconcile_everything_read_trusts_the_executor() -> None:
    """What it has read is its own to count: all three are done."""
    fleet, _, lane = heard("a")
    seqs = [lane.sent(T0) for _ in range(3)]

    fleet.heard(telemetry("e", "a", received=seqs[-1]), now_us=T0 + 60 * MS)

    assert lane.queued == 0


def test_reconcile_other_lanes_dispatches_stay_theirs() -> None:
    """Interleaved dispatches to two variants are told apart by sequence."""
    fleet, _, a = heard("a", "b", busy_ms=50)
    b = fleet.lane("e", "b")
    assert b is not None
    seqs = [lane.sent(T0) for lane in (a, b, a, a, b)]

    fleet.heard(telemetry("e", "a", "b", busy_ms=50, received=seqs[2]), now_us=T0 + MS)

    assert (a.queued, b.queued) == (1, 1)


def test_reconcile_idle_executor_that_never_read_them_is_not_starved() -> None:
    """A record lost with a crash must not count against the executor for ever."""
    fleet, _, lane = heard("a")
    lane.sent(T0)

    fleet.heard(telemetry("e", "a"), now_us=T0 + LOST_IDLE_US - 1)
    before = lane.queued
    fleet.heard(telemetry("e", "a"), now_us=T0 + LOST_IDLE_US + 1)

    assert (before, lane.queued) == (1, 0)


def test_reconcile_busy_executor_may_read_late() -> None:
    """A long backlog is read late; only after ten seconds is it taken for lost."""
    fleet, _, lane = heard("a", busy_ms=100)
    lane.sent(T0)

    fleet.heard(telemetry("e", "a", busy_ms=100), now_us=T0 + LOST_US)
    before = lane.queued
    fleet.heard(telemetry("e", "a", busy_ms=100), now_us=T0 + LOST_US + 1)

    assert (before, lane.queued) == (1, 0)


def test_reconcile_drift_scales_the_curve() -> None:
    """A lane that measures 1.5 times its profile is predicted so; one that claims 0.1 is believed to 0.8."""
    fleet, _, lane = heard("a")

    fleet.heard(telemetry("e", "a", drift=1.5), now_us=T0)
    slow_us = lane.finish_us(T0)
    fleet.heard(telemetry("e", "a", drift=0.1), now_us=T0)

    assert slow_us == T0 + 18 * MS
    assert lane.finish_us(T0) == T0 + 9_600


def test_reconcile_sizes_bend_the_curve() -> None:
    """Batches of two were measured to take twice as long as drift alone says, those of four half as much more."""
    fleet, _, lane = heard("a")

    fleet.heard(telemetry("e", "a", sizes=((2, 2.0), (4, 1.5))), now_us=T0)

    assert lane.latency_us[:6] == [0, 24 * MS, 28 * MS, 28 * MS, 28 * MS, 30 * MS]


def test_reconcile_without_the_live_correction_believes_profiles() -> None:
    """For comparison only."""
    fleet, _, lane = heard("a")
    fleet.live_correction = False

    fleet.heard(telemetry("e", "a", drift=3.0, sizes=((2, 2.0),), doubt=1), now_us=T0)

    assert (lane.finish_us(T0), lane.doubt, fleet.moved) == (T0 + 12 * MS, 0, set())


def test_fleet_notes_whose_speed_has_changed() -> None:
    """Once for each change of more than a twentieth, and for each doubt that comes or goes."""
    fleet, _, _ = heard("a", "b")

    def moved(**said: Any) -> set[tuple[str, str]]:
        fleet.moved.clear()
        fleet.heard(telemetry("e", "a", **said), now_us=T0)
        return set(fleet.moved)

    mine = {("a", "cpu")}
    assert moved() == set()
    assert [moved(drift=1.04), moved(drift=1.08), moved(drift=1.08), moved(drift=1.0)] == [set(), mine, set(), mine]
    assert [moved(doubt=1), moved(doubt=1), moved(doubt=2), moved()] == [mine, set(), mine, mine]


def test_finish_patient_queries_do_not_delay_timed_ones() -> None:
    """Of nine that wait seven have no deadline, and whoever has one overtakes them: it joins the batch of two."""
    fleet, executor, lane = heard("a", "b")
    other = fleet.lane("e", "b")
    assert other is not None

    fleet.heard(telemetry("e", "a", "b", queued=9, patient=7, busy_ms=5), now_us=T0)

    assert (lane.queued, lane.patient, executor.patient_us) == (2, 7, 24 * MS)
    assert lane.finish_us(T0) == T0 + (5 + 16) * MS
    assert other.finish_us(T0) == T0 + (5 + 14 + 12) * MS


def test_sent_patient_queries_are_told_apart_until_they_are_read() -> None:
    """Three without a deadline and two with one, of which the executor has read the first four."""
    fleet, _, lane = heard("a", busy_ms=50)
    seqs = [lane.sent(T0, patient) for patient in (True, True, False, True, False)]
    sent = (lane.queued, lane.patient)

    fleet.heard(telemetry("e", "a", queued=4, patient=3, busy_ms=50, received=seqs[3]), now_us=T0 + MS)

    assert sent == (2, 3)
    assert (lane.queued, lane.patient) == (2, 3)


def test_advance_runs_patient_queries_when_nothing_else_waits() -> None:
    """Two timed first, then five patient as one batch, which whoever comes meanwhile waits for."""
    fleet, executor, lane = heard("a")
    fleet.heard(telemetry("e", "a", queued=7, patient=5, busy_ms=5), now_us=T0)

    executor.advance(T0 + 6 * MS)
    first = (lane.queued, lane.patient)
    executor.advance(T0 + 20 * MS)

    assert first == (0, 5)
    assert (lane.queued, lane.patient, executor.patient_us) == (0, 0, 0)
    assert lane.finish_us(T0 + 20 * MS) == T0 + (5 + 14 + 20 + 12) * MS


def test_sent_patient_query_does_not_run_in_the_past() -> None:
    """The executor was idle for a second before it came."""
    _, executor, lane = heard("a")

    lane.sent(T0 + 1_000 * MS, True)
    lane.sent(T0 + 1_000 * MS)
    executor.advance(T0 + 1_000 * MS)

    assert executor.busy_until_us > T0 + 1_000 * MS


def test_finish_counts_what_has_to_be_decoded() -> None:
    """Four photographs are decoded before this one, 10 ms each, while those before it run; then one more."""
    fleet, _, lane = heard("a")
    fleet.heard(telemetry("e", "a", queued=6, patient=2, undecoded=4, decode_us=10 * MS), now_us=T0)
    before_us = lane.finish_us(T0)
    lane.sent(T0)

    assert before_us == T0 + (40 + 10 + 12) * MS
    assert lane.finish_us(T0) == T0 + (50 + 10 + 14) * MS


def test_finish_decoding_goes_on_between_records() -> None:
    """60 ms later all four are decoded; the pace itself is forgotten with the executor that says 0."""
    fleet, _, lane = heard("a", busy_ms=100)
    fleet.heard(telemetry("e", "a", queued=4, undecoded=4, decode_us=10 * MS, busy_ms=100), now_us=T0)

    later_us = lane.finish_us(T0 + 60 * MS)
    fleet.heard(telemetry("e", "a"), now_us=T0 + 60 * MS)

    assert later_us == T0 + (100 + 20) * MS
    assert lane.finish_us(T0 + 60 * MS) == T0 + (60 + 12) * MS


def test_sent_numbers_follow_the_clock() -> None:
    """A router that restarts under its name begins above what it sent in its former life."""
    _, _, lane = heard("a")

    assert [lane.sent(T0), lane.sent(T0)] == [T0 + 1, T0 + 2]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from("ab"), st.integers(1, 5)),
        st.tuples(st.just("rest"), st.sampled_from("ab"), st.integers(1, 5)),
        st.tuples(st.just("wait"), st.integers(0, 60_000), st.just(0)),
        st.tuples(st.just("aim"), st.sampled_from("ab"), st.integers(1, 8)),
        st.tuples(st.just("hear"), st.integers(0, 20), st.integers(0, 40)),
    ),
    max_size=40,
)


@given(steps, st.sampled_from([1, 3]))
def test_reckoning_keeps_its_sums_and_only_gets_later(events: list[tuple[str, object, int]], cores: int) -> None:
    """Work is the sum over lanes, queues are never negative, and without telemetry no prediction gets much earlier.

    Much: who was behind a full batch was predicted one for himself, and fewer may have come.
    """
    fleet, executor, _ = heard("a", "b", cores=cores)
    lanes = executor.lanes
    now_us, sent = T0, 0
    for name, what, count in events:
        before = {variant: lane.finish_us(now_us) for variant, lane in lanes.items()}
        match name, what:
            case "send", str(variant):
                for _ in range(count):
                    lanes[variant].sent(now_us)
                sent += count
            case "rest", str(variant):
                for _ in range(count):
                    lanes[variant].sent(now_us, True)
                sent += count
            case "wait", int(gap_us):
                now_us += gap_us
            case "aim", str(variant):
                lanes[variant].aim(count)
            case "hear", int(queued):
                read = executor.seq if count % 2 else 0
                record = telemetry(
                    "e", "a", "b", queued=queued, patient=queued // 3, busy_ms=count + 1, received=read, cores=cores
                )
                fleet.heard(record, now_us=now_us)
                sent = 0 if read else sent
        after = {variant: lane.finish_us(now_us) for variant, lane in lanes.items()}

        assert executor.work_us == sum(lane.work_us for lane in lanes.values())
        assert executor.patient_us == sum(lane.patient_us for lane in lanes.values())
        assert all(lane.patient >= 0 and (lane.patient_us > 0) == (lane.patient > 0) for lane in lanes.values())
        assert set(executor.waiting) == {lane for lane in lanes.values() if lane.queued}
        assert all(lane.queued >= 0 and (lane.work_us > 0) == (lane.queued > 0) for lane in lanes.values())
        assert sum(run.count for run in executor.unread) == sent
        if name in {"send", "rest", "wait"} and cores == 1:
            slack_us = {variant: lane.latency_us[lane.target] for variant, lane in lanes.items()}
            assert all(after[variant] >= before[variant] - slack_us[variant] for variant in lanes)
