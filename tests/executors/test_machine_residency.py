"""Variants and slots leave the machine, or come back another: what was queued for them is handed back."""

from __future__ import annotations

from executors.events import Deliver, HandBack, SlotsRevoked, VariantUnloaded
from tests.executors.builders import Bench, ran


def test_machine_revoked_slot_hands_back_its_own_jobs() -> None:
    """The other slot's job stays, and so does what runs, of either."""
    bench = Bench()
    a, b, c, d = bench.job(slot=1), bench.job(50, slot=1), bench.job(60, slot=2), bench.job(slot=1, ready=False)
    bench.arrive(a)
    bench.arrive(b, c, d)

    assert bench.tell(SlotsRevoked(frozenset({1}))) == [HandBack(b), HandBack(d)]
    assert bench.finish(1) == [Deliver(a, 1, 0), ran(2, c, reason="target", target=1, slack_ms=57)]


def test_machine_unknown_variant_is_handed_back() -> None:
    """The router knows better, or will."""
    bench = Bench()
    a = bench.job(50, variant="elsewhere")

    assert bench.arrive(a) == [HandBack(a)]


def test_machine_unloaded_variant_hands_back_its_queue() -> None:
    """What runs is finished on the instance it has."""
    bench = Bench()
    a, b, c = bench.job(), bench.job(50), bench.job()
    bench.arrive(a)
    bench.arrive(b, c)

    assert bench.tell(VariantUnloaded("v")) == [HandBack(b), HandBack(c)]
    assert bench.finish(1) == [Deliver(a, 1, 0)]


def test_machine_unloaded_variant_hands_back_what_was_to_run_again() -> None:
    """Its instances are gone: neither a part that waits, nor one that fails later, is run again; decoding is moot."""
    bench = Bench()
    a, b, c, d, e = (bench.job(ready=n < 4) for n in range(5))
    bench.arrive(a)
    bench.arrive(b, c, d)
    bench.finish(1)
    bench.fail(2)  # (b, c) run again, d waits
    bench.arrive(e)

    assert bench.tell(VariantUnloaded("v")) == [HandBack(d), HandBack(e)]
    assert bench.fail(3) == [HandBack(b), HandBack(c)]
    bench.load()
    assert bench.prepared(e) == []
    assert [report.queued for report in bench.machine.reports(now_us=bench.now_us)] == [0]


def test_machine_batch_that_fails_after_its_variant_was_loaded_anew_is_handed_back() -> None:
    """Halves of it would run on instances of the new width and be counted by the old one."""
    bench = Bench(cores=2)
    hold, a, b = bench.job(), bench.job(), bench.job()
    bench.load("v", width=2)
    bench.arrive(hold)
    bench.arrive(a, b)
    bench.finish(1)
    bench.tell(VariantUnloaded("v"))
    bench.load("v", width=1)

    assert bench.fail(2) == [HandBack(a), HandBack(b)]
    assert bench.machine.cores.free == 2


def test_machine_variant_of_another_width_hands_back_its_queue() -> None:
    """The queue of the old width is not lost with it."""
    bench = Bench(cores=2)
    a, b, c = bench.job(), bench.job(), bench.job(50)
    bench.arrive(a)
    bench.arrive(b)
    bench.arrive(c)

    assert bench.load("v", width=2) == [HandBack(c)]
    assert bench.finish(1) == [Deliver(a, 1, 0)]
    assert bench.finish(2) == [Deliver(b, 2, 0)]
