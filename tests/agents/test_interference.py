"""Executors that something slows down: seen, spared, tried again, and taken back; the policy in a small world.

Two executors, l(b) = 10 + 3 b ms, one of them three times slower from second 5 to second 12.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.agents.world import Sent, Slowed, stream

FROM_S, UNTIL_S, END_S = 5.0, 12.0, 20.0
ONE = Slowed(("e1",), FROM_S, UNTIL_S, 3.0)


def sent(slowed: Slowed, *, rate_qps: float = 120.0, slo_ms: float = 60.0, **world: Any) -> list[Sent]:
    queries = int(rate_qps * END_S)
    return stream(
        "blocks", rate_qps=rate_qps, queries=queries, seed=1, slos_ms=(slo_ms,), speeds=world.pop("speeds", (1.0, 1.0)),
        fixed_ms=10.0, item_ms=3.0, slowed=slowed, **world,
    )  # fmt: skip


def between(all_sent: list[Sent], from_s: float, until_s: float) -> list[Sent]:
    start_us = all_sent[0].arrived_us
    return [one for one in all_sent if from_s <= (one.arrived_us - start_us) / 1e6 < until_s]


def missed(some: list[Sent]) -> int:
    return sum(not one.in_time for one in some)


def share(some: list[Sent], executor: str = "e1") -> float:
    return sum(one.executor == executor for one in some) / len(some)


@pytest.mark.parametrize("slo_ms", [60.0, 100.0])
def test_interfered_lane_is_routed_around_and_taken_back(slo_ms: float) -> None:
    """Within a second it gets next to nothing; within four of its end it has its half again."""
    got = sent(ONE, slo_ms=slo_ms)

    assert share(between(got, 0, FROM_S)) == pytest.approx(0.5, abs=0.1)
    assert share(between(got, FROM_S + 1, UNTIL_S)) < 0.05
    assert share(between(got, UNTIL_S + 4, END_S)) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("slo_ms", "rate_qps"), [(60.0, 60.0), (60.0, 120.0), (100.0, 120.0), (35.0, 60.0)])
def test_live_correction_at_least_halves_what_interference_costs(slo_ms: float, rate_qps: float) -> None:
    """The same stream with and without; at 35 ms one executor alone cannot keep all either."""
    with_it, without = (
        missed(between(sent(ONE, slo_ms=slo_ms, rate_qps=rate_qps, live_correction=on), FROM_S, UNTIL_S))
        for on in (True, False)
    )

    assert without >= 20
    assert with_it <= without / 2


def test_trials_of_an_interfered_lane_are_few() -> None:
    """No more than one query in a hundred, and some: without them it would never be taken back."""
    got = between(sent(ONE), FROM_S + 1, UNTIL_S)
    tried = sum(one.why == "tried" for one in got)

    assert 0 < tried <= len(got) / 100 + 1


def test_interfered_lane_does_not_swing() -> None:
    """While it lasts the lane is not taken back and dropped again: no second in which it gets a tenth."""
    got = sent(ONE)
    seconds = [share(between(got, at, at + 1)) for at in range(int(FROM_S) + 1, int(UNTIL_S))]

    assert max(seconds) < 0.1


def test_steady_fleet_is_left_alone() -> None:
    """Nobody is slower than before: nobody is spared or tried."""
    got = sent(Slowed((), 0.0, 0.0, 1.0))

    assert share(got) == pytest.approx(0.5, abs=0.05)
    assert missed(got) == 0
    assert not any(one.why == "tried" for one in got)


def test_wholly_slow_fleet_serves() -> None:
    """Both three times slower, an SLO that leaves time for it: both go on, evenly."""
    both = Slowed(("e0", "e1"), FROM_S, UNTIL_S, 3.0)
    got = between(sent(both, slo_ms=300.0, rate_qps=40.0), FROM_S + 1, UNTIL_S)

    assert share(got) == pytest.approx(0.5, abs=0.15)
    assert missed(got) <= len(got) / 100


def test_only_executor_too_slow_for_the_slo_serves_again_once_it_is_well() -> None:
    """Three times slower it can answer nothing in time: it is sent nothing but trials, and is back within seconds."""
    got = sent(Slowed(("e0",), FROM_S, UNTIL_S, 3.0), slo_ms=35.0, rate_qps=20.0, speeds=(1.0,))

    assert missed(between(got, FROM_S + 1, UNTIL_S)) > 0.8 * len(between(got, FROM_S + 1, UNTIL_S))
    assert missed(between(got, UNTIL_S + 4, END_S)) <= 0.2 * len(between(got, UNTIL_S + 4, END_S))


def test_slow_lane_that_is_needed_is_used() -> None:
    """More than one executor can carry: half as slow again is better than nothing."""
    slowed = Slowed(("e1",), FROM_S, UNTIL_S, 1.5)
    got = between(sent(slowed, slo_ms=150.0, rate_qps=330.0), FROM_S + 1, UNTIL_S)

    assert share(got) > 0.25
