"""Payloads that take long to decode: whose turn it is, and who is let go rather than decoded."""

from __future__ import annotations

from executors.decoding import PATIENT_SHARE
from executors.events import Command, Decode, Deliver, Expire, Fail, HandBack, SlotsRevoked, Spoiled, VariantUnloaded
from executors.job import Job
from streams.records import LaneReport
from tests.executors.builders import CURVE, MS, T0, Bench, ran


def test_machine_decodes_by_deadline_and_as_many_as_there_are_decoders() -> None:
    """The tightest of those that wait goes next, whenever it came."""
    bench = Bench()
    a, b, c = (bench.job(ms, heavy=True) for ms in (100, 90, 80))

    assert bench.arrive(a, b, c) == [Decode(c)]
    assert bench.prepared(c) == [ran(1, c, reason="target", target=1, slack_ms=77), Decode(b)]
    assert bench.tell(Spoiled(b, 1 * MS)) == [Fail(b, None), Decode(a)]


def test_machine_payload_whose_query_ended_is_not_decoded() -> None:
    """Expired while it waited, handed back with its slot, or with its variant: the decoder goes on with the next."""
    bench = Bench(("v", 1), ("w", 1))
    first, expired, revoked, unloaded, last = (
        bench.job(200, heavy=True),
        bench.job(210, heavy=True, slot=2),
        bench.job(220, heavy=True, slot=1),
        bench.job(230, heavy=True, variant="w"),
        bench.job(900, heavy=True),
    )
    bench.arrive(first, expired, revoked, unloaded, last)
    bench.tell(SlotsRevoked(frozenset({1})))
    bench.tell(VariantUnloaded("w"))

    assert bench.tick(210) == [Expire(first, "deadline_passed"), Expire(expired, "deadline_passed")]
    assert bench.prepared(first) == [Decode(last)]
    assert bench.ends[id(revoked)] == HandBack(revoked)
    assert bench.ends[id(unloaded)] == HandBack(unloaded)


def test_machine_payload_that_no_batch_could_save_is_let_go() -> None:
    """Decoding took 40 ms, and one alone runs in 3: of 42 ms that are left it is better to say so at once."""
    bench = Bench()
    first, late, able = bench.job(900, heavy=True), bench.job(82, heavy=True), bench.job(200, heavy=True)
    bench.arrive(first)
    bench.arrive(late, able)

    got = bench.at(40).prepared(first, took_ms=40)

    assert got[1:] == [Expire(late, "would_be_late"), Decode(able)]


def test_machine_first_payload_is_decoded_however_tight() -> None:
    """Nothing was measured yet; what a decoder takes is learnt by doing."""
    bench = Bench()
    a = bench.job(4, heavy=True)

    assert bench.arrive(a) == [Decode(a)]


def test_machine_one_huge_payload_does_not_end_all_decoding() -> None:
    """It took 5 s; a second later that is forgotten, and the next one is measured rather than let go as well."""
    bench = Bench()
    huge, soon, later = bench.job(9_000, heavy=True), bench.job(6_000, heavy=True), bench.job(8_000, heavy=True)
    bench.arrive(huge)
    bench.at(5_000).prepared(huge, took_ms=5_000)

    assert bench.at(5_900).arrive(soon) == [Expire(soon, "would_be_late")]
    assert bench.at(6_100).arrive(later) == [Decode(later)]
    bench.at(6_110).prepared(later, took_ms=10)
    assert bench.arrive(bench.job(6_200, heavy=True)) == [Decode(bench.jobs[-1])]


def test_machine_window_drop_off_decodes_what_will_be_late() -> None:
    """The ablation lets nobody go here either."""
    bench = Bench(window_drop=False)
    first, late = bench.job(900, heavy=True), bench.job(82, heavy=True)
    bench.arrive(first)
    bench.arrive(late)

    assert bench.at(40).prepared(first, took_ms=40)[-1] == Decode(late)


def test_machine_payload_that_may_be_late_waits_for_those_in_time() -> None:
    """Its deadline cannot be kept any more, so it has no claim to go first."""
    bench = Bench()
    first, late, able = bench.job(900, heavy=True), bench.job(60, heavy=True, late_ok=True), bench.job(200, heavy=True)
    bench.arrive(first)
    bench.arrive(late, able)

    assert bench.at(40).prepared(first, took_ms=40)[-1] == Decode(able)
    assert bench.at(80).prepared(able, took_ms=40)[-1] == Decode(late)


def test_machine_payload_without_deadline_does_not_starve() -> None:
    """Timed ones go first, but only PATIENT_SHARE in a row."""
    bench = Bench()
    patient = bench.job(heavy=True)
    timed = [bench.job(10_000 + n, heavy=True) for n in range(3 * PATIENT_SHARE)]
    bench.arrive(timed[0])
    bench.arrive(patient, *timed[1:])
    order = []
    while bench.decoding:
        order.append(bench.decoding[0])
        bench.prepared(bench.decoding[0])

    assert next(n for n, job in enumerate(order) if job is patient) == 1 + PATIENT_SHARE


def test_machine_reports_how_long_decoding_takes_and_how_much_waits() -> None:
    """Two decoders of 40 ms each: after 20 ms one more is done. A variant that never decodes says nothing of it."""
    bench = Bench(("v", 1), ("w", 1), decoders=2)
    jobs = [bench.job(heavy=True) for _ in range(4)]
    bench.arrive(*jobs)
    bench.prepared(jobs[0], took_ms=40)
    bench.arrive(bench.job(variant="w"))

    assert bench.machine.reports(now_us=bench.now_us) == (
        LaneReport(
            variant="v",
            queued=3,
            patient=3,
            running=1,
            undecoded=3,
            decode_us=20 * MS,
            lanes=1,
            free_us=bench.machine.cores.expected_us(bench.now_us),
        ),
        LaneReport(variant="w", queued=1, patient=1, lanes=1),
    )


def test_machine_decoders_pace_is_forgotten_where_nothing_comes_any_more() -> None:
    """A second after one huge photograph: a router that believed in it would never send another."""
    bench = Bench()
    bench.arrive(job := bench.job(90_000, heavy=True))
    bench.at(5_000).prepared(job, took_ms=5_000)

    said = [bench.machine.reports(now_us=bench.now_us)[0].decode_us]
    for ms in (5_900, 6_001):
        bench.at(ms).machine.age(now_us=bench.now_us)
        said.append(bench.machine.reports(now_us=bench.now_us)[0].decode_us)

    assert said == [5_000 * MS, 5_000 * MS, 0]


def test_machine_flood_of_payloads_answers_as_many_as_can_be_decoded() -> None:
    """Four times what one decoder can do, for two seconds: nearly all that it decodes are delivered in time.

    First in, first out would have decoded each one as it expired, and delivered almost none.
    """
    bench = Bench(cores=2, reserve_us=3 * MS)
    decode_ms, slo_ms, every_ms = 10, 100, 2.5
    until: list[tuple[float, str, object]] = []  # when a decoder or a lane is done
    delivered = decoded = 0

    def perform(commands: list[Command], ms: float) -> None:
        nonlocal delivered, decoded
        for command in commands:
            if isinstance(command, Decode):
                until.append((ms + decode_ms, "decoded", command.job))
            elif isinstance(command, Deliver):
                delivered += 1
        for batch in bench.running.values():
            if not any(what is batch for _, _, what in until):
                until.append((ms + CURVE.p50_us[len(batch.jobs)] / MS, "ran", batch))

    arrivals = [n * every_ms for n in range(800)]
    while arrivals or until:
        until.sort(key=lambda one: one[0])
        if arrivals and (not until or arrivals[0] <= until[0][0]):
            ms = arrivals.pop(0)
            bench.at(ms)
            perform(bench.arrive(bench.job(ms + slo_ms, heavy=True)), ms)
            continue
        ms, _, what = until.pop(0)
        bench.at(ms)
        if isinstance(what, Job):
            decoded += 1
            perform(bench.prepared(what, took_ms=decode_ms), ms)
        else:
            perform(bench.finish(getattr(what, "batch_id")), ms)  # noqa: B009 - a RunBatch

    assert decoded >= 195
    assert delivered >= 0.95 * decoded
    assert bench.now_us < T0 + 2_200 * MS
