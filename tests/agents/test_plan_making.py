"""One plan after the other, by hand: when nothing is said, what a burst changes, and how machines go."""

from __future__ import annotations

import msgspec
import pytest

from agents.plan_making import Made, Maker, moved
from agents.planner_settings import PlannerSettings
from agents.planning import Options
from optimizer.transition import Hysteresis
from streams.plans import ClassPlan, Host, PoolNow, Snapshot, decode_plan, encode_plan
from tests.agents.test_planning import BOTH, HOSTS, clock, snapshot

SECOND_US = 1_000_000
OPTIONS = Options(preset="most-accurate-within-budget", solve_s=5.0, hysteresis=Hysteresis(hold=1))
POOL = PoolNow(pool="cpu", least=1, most=4, alive=2)


class World:
    """Executors that hold at once what they are ordered, and a pool that has at once what is."""

    def __init__(self, *, pool: PoolNow | None = None, hosts: tuple[Host, ...] = HOSTS) -> None:
        settings = PlannerSettings(machines_s=10.0, gain_hold_s=3.0, settle_s=20.0)
        self.maker = Maker(OPTIONS, settings, clock=clock)
        self.hosts, self.pool = hosts, pool
        self.ordered: set[str] = set()
        self.now_us = 100 * SECOND_US

    def see(self, rate: float, *, measured: float | None = None) -> Snapshot:
        made = snapshot(rate, *self.hosts, pool=self.pool, measured=measured)
        return msgspec.structs.replace(made, made_us=self.now_us)

    def turn(self, rate: float, *, loading: tuple[str, ...] = (), measured: float | None = None) -> Made | None:
        """One second; what is ordered is carried out."""
        self.now_us += SECOND_US
        made = self.maker.make(self.see(rate, measured=measured), BOTH, self.ordered, loading)
        if made is not None:
            self.ordered |= made.hosts.keys()
            self.hosts = tuple(
                msgspec.structs.replace(host, held=made.hosts.get(host.name, host.held)) for host in self.hosts
            )
            if self.pool is not None and "cpu" in made.pools:
                count, gone = made.pools["cpu"]
                self.hosts = tuple(host for host in self.hosts if host.name not in gone)
                self.pool = msgspec.structs.replace(self.pool, alive=count)
        return made

    @property
    def variants(self) -> set[str]:
        return {variant for host in self.hosts for variant in host.held}


def test_maker_says_nothing_while_nothing_changes() -> None:
    """After the first plan: neither lanes nor machines."""
    world = World()
    first = world.turn(50.0)
    assert first is not None
    assert first.news
    assert world.variants == {"good/v"}

    again = [world.turn(50.0) for _ in range(5)]
    assert again[1:] == [None] * 4
    assert again[0] is None or (again[0].hosts == {} and not again[0].news)


def test_maker_a_burst_is_served_at_once_and_accuracy_comes_back_once_it_lasts() -> None:
    """Beyond what `good` carries `fast` joins in the same turn; after it, `good` alone, but not in the first second."""
    world = World()
    world.turn(50.0)
    burst = world.turn(1_500.0)
    assert burst is not None
    assert (burst.verdict.why, burst.classes[0].unserved_qps) == ("unserved", 0)
    assert "fast/v" in world.variants

    after = [world.turn(50.0) for _ in range(6)]
    assert after[0] is not None
    assert after[0].kept
    assert after[0].status == "kept"
    assert all(made is None or made.classes[0].unserved_qps == 0 for made in after)


def test_maker_machines_are_ordered_at_once_when_a_class_goes_unserved() -> None:
    """Not after the ten seconds between two looks."""
    world = World(pool=POOL)
    world.turn(50.0)
    world.turn(50.0)
    made = world.turn(5_000.0)

    assert made is not None
    assert made.pools["cpu"][0] == 4
    assert made.classes[0].unserved_qps > 0
    assert made.classes[0].binding == "room"


def test_maker_a_machine_goes_once_the_others_hold_what_it_held() -> None:
    """While they load, the pool's order stays; then the order names who leaves."""
    options = msgspec.structs.replace(OPTIONS, preset="cheapest")
    world = World(pool=POOL)
    world.maker = Maker(options, PlannerSettings(machines_s=10.0, settle_s=20.0), clock=clock)
    first = world.turn(50.0)
    assert first is not None
    assert first.pools.get("cpu", (2, ())) == (2, ())

    waiting = [world.turn(50.0, loading=("e1",)) for _ in range(3)]
    assert all(made is None or made.pools.get("cpu", (2, ()))[0] == 2 for made in waiting)
    made = [m for m in (world.turn(50.0) for _ in range(3)) if m is not None and m.pools.get("cpu", (2, ()))[0] == 1]
    assert made
    assert made[0].pools["cpu"] == (1, ("e2",))
    assert [host.name for host in world.hosts] == ["e1"]


@pytest.mark.parametrize("late", [0, 2, 5])
def test_maker_a_machine_that_goes_slowly_is_not_called_back(late: int) -> None:
    """Lanes load for longer than there is between two looks, and the pool counts the machine for seconds after it."""
    options = msgspec.structs.replace(OPTIONS, preset="cheapest", hysteresis=Hysteresis(hold=2))
    world = World(pool=POOL)
    world.maker = Maker(options, PlannerSettings(machines_s=2.0, settle_s=20.0), clock=clock)
    orders: list[int] = []
    for second in range(20):
        before = world.pool
        made = world.turn(50.0, loading=("e1",) if second < 8 else ())
        if made is not None and "cpu" in made.pools:
            orders.append(made.pools["cpu"][0])
        late -= orders[-1:] == [1]
        if late > 0:
            world.pool = before

    assert sorted(orders, reverse=True) == orders
    assert orders[-1] == 1


def test_maker_machines_stay_while_the_measured_load_needs_them() -> None:
    """A forecast alone never scales in."""
    world = World(pool=POOL)
    world.maker = Maker(
        msgspec.structs.replace(OPTIONS, preset="cheapest"), PlannerSettings(machines_s=1.0), clock=clock
    )
    for _ in range(4):
        made = world.turn(50.0, measured=2_500.0)
        assert made is None or made.pools.get("cpu", (2, ()))[0] == 2


def test_maker_record_is_what_was_decided() -> None:
    """And can be read back."""
    made = World().turn(50.0)
    assert made is not None
    record = made.record(7, "p1")

    assert decode_plan(encode_plan(record)) == record
    assert (record.epoch, record.planner, record.trigger) == (7, "p1", "first, executors")
    assert record.hosts == made.hosts
    assert msgspec.convert(record.options, Options) == OPTIONS


def test_moved_shares_count_by_a_tenth_of_the_flow() -> None:
    """Not the load itself; a class that comes or goes does."""

    def plan(*flows: tuple[str, float]) -> ClassPlan:
        return ClassPlan(
            klass="c", demand_qps=1.0, unserved_qps=0.0, binding="none", flows=tuple((v, "cpu", q) for v, q in flows)
        )

    assert not moved([plan(("a", 90.0), ("b", 10.0))], [plan(("a", 190.0), ("b", 10.0))])
    assert moved([plan(("a", 90.0), ("b", 10.0))], [plan(("a", 70.0), ("b", 30.0))])
    assert moved([], [plan()])
