"""What is known of one variant's speed here, and the batch size that follows from it."""

from __future__ import annotations

import pytest

from executors.batching import size_efficient, size_target
from executors.job import Job
from executors.stock import UTILISATION, Stock
from registry.latency import LatencyProfile
from streams.clock import NEVER
from tests.executors.builders import MS

CURVE = LatencyProfile.linear(fixed_us=5 * MS, per_item_us=MS, batch_max=64)


def stock(curve: LatencyProfile = CURVE, *, rate_qps: float = 0.0, lanes: int = 1) -> Stock:
    made = Stock("v", curve, width=1, lanes=lanes)
    made.rate.add(round(rate_qps * 0.3), now_us=0)
    return made


def target(of: Stock, *, share: float = 1.0, slo_us: int = 100 * MS) -> int:
    return of.target(slo_us, reserve_us=0, share=lambda: share, now_us=0)


def slowed(of: Stock, ratio: float) -> Stock:
    """As after many batches that took so many times what the profile says."""
    for _ in range(400):
        of.ran(4, round(CURVE.p50_us[4] * ratio), now_us=0)
    return of


def test_stock_that_runs_slower_needs_larger_batches() -> None:
    """At three times the profile's duration the target is that of a curve three times as slow."""
    fresh, slow = stock(rate_qps=100), slowed(stock(rate_qps=100), 3.0)

    assert (target(fresh), target(slow)) == (1, target(stock(CURVE.corrected(slow.drift), rate_qps=100)))
    assert target(slow) == 3
    assert slow.run_us[4] == pytest.approx(3 * CURVE.p99_us[4], rel=0.02)
    assert slow.target_patient() == size_efficient(CURVE.corrected(slow.drift))


def test_stock_target_is_forgotten_when_the_speed_changes() -> None:
    """A target is believed for a while, but not beyond what it was computed from."""
    one = stock(rate_qps=100)
    before = target(one)

    assert target(slowed(one, 3.0)) > before


def test_stock_with_a_share_of_the_lanes_needs_larger_batches() -> None:
    """Half of the only lane carries the rate only with half of the time per query; of four lanes, half are two."""
    whole, half = target(stock(rate_qps=100)), target(stock(rate_qps=100), share=0.5)

    assert half == size_target(
        CURVE, slo_us=100 * MS, rate_qps=100.0, lanes=1, reserve_us=0, utilisation=UTILISATION / 2
    )
    assert whole < half
    assert target(stock(rate_qps=400, lanes=4), share=0.5) == target(stock(rate_qps=400, lanes=2))


def test_stock_batch_above_the_cap_is_counted_and_teaches_nothing() -> None:
    """A profile with a smaller cap came while it ran."""
    one = stock()
    one.learn(LatencyProfile.linear(fixed_us=MS, per_item_us=0, batch_max=2))
    one.ran(3, 50 * MS, now_us=0)

    assert one.drift == 1
    assert one.used.per_s(now_us=0) > 0


def test_stock_counts_what_is_still_to_come() -> None:
    """Of three: one to fetch, one of two to decode without a deadline; each is counted until it came."""
    one = stock()
    jobs = [
        Job(variant="v", deadline_us=NEVER if patient else 1, queued_us=0, ready=False, heavy=heavy)
        for patient, heavy in ((False, False), (True, True), (False, True))
    ]
    for job in jobs:
        one.prepare(job)

    assert (one.preparing, one.preparing_patient, one.undecoded, one.decodes) == (3, 1, 2, True)
    for job in jobs:
        one.prepared(job)
    assert (one.preparing, one.preparing_patient, one.undecoded, one.decodes) == (0, 0, 0, True)
