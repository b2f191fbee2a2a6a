"""Which executor of a group the next query goes to."""

from __future__ import annotations

from itertools import groupby, pairwise

import numpy as np
import pytest

from agents.fleet import Fleet
from agents.groups import PLAN_US
from agents.ownership import Ownership
from agents.selection import Chosen, Selector
from streams.records import RouterReport
from tests.agents.builders import MS, ROUTER, T0, Settings, catalog, query, requirements, selector, telemetry

CURVE = ("v", 0.9, 25.5, 5.4)
ASK = requirements(slo_ms=150)


def router(*executors: str, policy: str = "blocks") -> tuple[Selector, Fleet]:
    fleet = Fleet(router=ROUTER)
    pick = selector(catalog(CURVE), fleet, policy)  # type: ignore[arg-type]
    for slot, name in enumerate(executors):
        fleet.heard(telemetry(name, "v", slots=(slot,)), now_us=T0)
    return pick, fleet


def stream(pick: Selector, fleet: Fleet, executors: tuple[str, ...], *, rate_qps: int, queries: int) -> list[str]:
    """Where each of a smooth stream goes; everyone is heard every 50 ms with what it would have done."""
    went = []
    for index in range(queries):
        now_us = T0 + index * 1_000_000 // rate_qps
        if index % (rate_qps // 20) == 0:
            for slot, name in enumerate(executors):
                lane = fleet.lane(name, "v")
                assert lane is not None
                lane.finish_us(now_us)
                busy_ms = max(0, lane.executor.busy_until_us - now_us) / MS
                record = telemetry(
                    name, "v", slots=(slot,), busy_ms=busy_ms, queued=lane.queued, received=lane.executor.seq
                )
                fleet.heard(record, now_us=now_us)
        got = pick.select(query(ASK, arrived_us=now_us), now_us=now_us)
        assert isinstance(got, Chosen), got
        went.append(got.executor)
    return went


def runs(went: list[str]) -> list[tuple[str, int]]:
    return [(name, len(list(group))) for name, group in groupby(went)]


def test_blocks_send_runs_in_ring_order() -> None:
    """At 400 queries/s, four lanes keep up with batches of 7: 400 l(7) / 7 <= 0.95 x 4 s; l(6) / 6 does not do."""
    names = ("a", "b", "c", "d")
    pick, fleet = router(*names)

    tail = runs(stream(pick, fleet, names, rate_qps=400, queries=800))[-40:-1]

    order = [name for name, _ in tail]
    assert all(names[(names.index(x) + 1) % 4] == y for x, y in pairwise(order))
    assert {size for _, size in tail} == {7}


def test_blocks_at_a_low_rate_are_single_queries() -> None:
    """Where batches are not needed to keep up, gathering them would only cost time."""
    names = ("a", "b", "c", "d")
    pick, fleet = router(*names)

    tail = runs(stream(pick, fleet, names, rate_qps=40, queries=80))[-20:-1]

    assert {size for _, size in tail} == {1}


def test_blocks_leave_a_silent_executor_in_the_middle_of_a_block() -> None:
    """Liveness is looked at for every query, not once per block."""
    names = ("a", "b", "c", "d")
    pick, fleet = router(*names)
    went = stream(pick, fleet, names, rate_qps=400, queries=400)
    now_us = T0 + 1_000 * MS
    for slot, name in enumerate(names):
        if name != went[-1]:
            fleet.heard(telemetry(name, "v", slots=(slot,)), now_us=now_us + 1_000 * MS)
    later_us = now_us + 1_001 * MS

    got = [pick.select(query(ASK, arrived_us=later_us), now_us=later_us) for _ in range(12)]

    assert went[-1] not in {one.executor for one in got if isinstance(one, Chosen)}
    assert len(got) == 12


def test_blocks_pass_over_an_executor_that_is_not_free_in_time() -> None:
    """The next in the ring is 120 ms behind: the one after it takes the block."""
    pick, fleet = router("a", "b", "c")
    fleet.heard(telemetry("a", "v", slots=(0,), busy_ms=120), now_us=T0)

    got = pick.select(query(ASK), now_us=T0)

    assert isinstance(got, Chosen)
    assert got.executor == "b"


def test_blocks_close_early_for_a_tight_deadline() -> None:
    """A block that holds a query due in 60 ms takes no more than fit into one batch by then."""
    names = ("a", "b", "c", "d")
    pick, fleet = router(*names)
    stream(pick, fleet, names, rate_qps=400, queries=400)
    now_us = T0 + 1_000 * MS
    for slot, name in enumerate(names):
        fleet.heard(telemetry(name, "v", slots=(slot,), received=2**62), now_us=now_us)
    tight = requirements(slo_ms=60)

    went = []
    for _ in range(12):
        got = pick.select(query(tight, arrived_us=now_us), now_us=now_us)
        assert isinstance(got, Chosen)
        went.append(got.executor)
    assert max(size for _, size in runs(went)) <= 5  # l(5) = 52.5 and 3 of reserve, l(6) = 57.9


@pytest.mark.parametrize("policy", ["round-robin", "random"])
def test_plain_policies_spread_evenly(policy: str) -> None:
    """Round robin exactly, random roughly."""
    names = ("a", "b", "c", "d")
    pick, fleet = router(*names, policy=policy)

    went = stream(pick, fleet, names, rate_qps=100, queries=400)

    slack = 0 if policy == "round-robin" else 40
    assert all(abs(went.count(name) - 100) <= slack for name in names)


def test_plan_follows_the_rate() -> None:
    """The rate is averaged over 300 ms and looked at every 100 ms: after a second it is right within 5 %."""
    names = ("a", "b", "c", "d")
    pick, fleet = router(*names)
    stream(pick, fleet, names, rate_qps=200, queries=300)
    (group,) = pick._groups.values()

    assert abs(group.rate_qps - 200) < 10
    assert group.plan_at_us - group.planned_us == PLAN_US


def test_shared_executors_are_spread_plainly() -> None:
    """Two routers and four executors: blocks would collide, so it is round robin although blocks are set."""
    fleet = Fleet(router=ROUTER)
    ownership = Ownership(ROUTER)
    ownership.heard(RouterReport(router="other", sent_us=T0), now_us=T0)
    pick = Selector(catalog(CURVE), fleet, settings=Settings(), rng=np.random.default_rng(0), ownership=ownership)
    pick.refresh(now_us=T0)
    names = ("a", "b", "c", "d")
    for slot, name in enumerate(names):
        fleet.heard(telemetry(name, "v", slots=(slot,)), now_us=T0)

    went = []
    for index in range(8):
        got = pick.select(query(ASK, arrived_us=T0 + index), now_us=T0 + index)
        assert isinstance(got, Chosen)
        went.append(got.executor)
    assert went == [*names, *names]
