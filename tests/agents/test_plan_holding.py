"""As which kinds the lanes that are held count."""

from __future__ import annotations

from agents.plan_holding import held_as
from agents.planning import Options, lanes
from optimizer.problem import QueryClass
from optimizer.serving import LaneOf, Machine, menu
from streams.plans import Host
from tests.agents.test_planning import BOTH, clock, snapshot

MACHINE = Machine(pool="cpu", usd_hour=0.2, cores=2, memory_mib=1_000)


def offered() -> list[LaneOf]:
    """Of `good` and `fast`, batches of 1, 2, 4 and 8 each; 4 ms and 1 ms a query, whatever the batch."""
    return menu(BOTH.offers(), BOTH.profiles, [MACHINE])


def named(counts: dict[int, int]) -> dict[str, int]:
    menu_ = offered()
    return {menu_[j].kind.name: n for j, n in counts.items()}


def kinds(variant: str, *, batch_max: int) -> tuple[int, ...]:
    return tuple(j for j, lane in enumerate(offered()) if lane.offer.variant == variant and lane.batch <= batch_max)


def test_held_as_counts_as_a_kind_that_serves() -> None:
    """A class that only small batches are quick enough for makes a lane one of small batches."""
    tight = QueryClass(name="tight", demand_qps=100.0, kinds=kinds("good/v", batch_max=2))

    counts = named(held_as(offered(), [tight], {("good/v", "cpu"): 1}))

    assert counts.keys() <= {"good/v@cpu/b1", "good/v@cpu/b2"}
    assert sum(counts.values()) == 1


def test_held_as_every_lane_is_counted_once() -> None:
    """Also those that nobody asks for, and none that is not on the menu."""
    counts = held_as(offered(), [], {("good/v", "cpu"): 3, ("gone/v", "cpu"): 2})

    assert named(counts) == {"good/v@cpu/b1": 3}


def test_lanes_what_is_held_and_suffices_counts_as_sufficient() -> None:
    """At an SLO that a batch of eight of `good` would miss: the standing lanes leave nothing unserved."""
    hosts = (Host(name="e1", pool="cpu", cores=2, held={"good/v": 2}),)
    klass = "task=t slo=22 acc=0.8 cost=any prio=5"
    seen = snapshot(100.0, *hosts, klass=klass)

    made = lanes(seen, BOTH, Options(solve_s=5.0), clock=clock)

    assert made.standing is not None
    assert made.standing.unserved_qps == 0
    assert made.classes[0].unserved_qps == 0
    assert made.hosts == {"e1": {"good/v": 2}} or made.hosts == {"e1": {"good/v": 1}}
