"""A task that nobody asks for is let go, and its machines after it; a query brings both back."""

from __future__ import annotations

import msgspec

from agents.plan_making import Made, Maker
from agents.planner_settings import PlannerSettings
from streams.plans import Host, PoolNow, Snapshot
from tests.agents.test_plan_making import OPTIONS, World
from tests.agents.test_planning import clock

POOL = PoolNow(pool="cpu", least=0, most=4, alive=1, cores=2)


class Cooling(World):
    """One machine; `warm` is what the policy says."""

    def __init__(self) -> None:
        super().__init__(pool=POOL, hosts=(Host(name="e1", pool="cpu", cores=2),))
        options = msgspec.structs.replace(OPTIONS, preset="cheapest")
        self.maker = Maker(options, PlannerSettings(machines_s=5.0), clock=clock)
        self.warm: tuple[str, ...] = ("task=t",)

    def see(self, rate: float, *, measured: float | None = None) -> Snapshot:
        made = super().see(rate, measured=measured)
        return msgspec.structs.replace(made, warm=self.warm, demands=made.demands if rate else ())

    def turns(self, count: int, rate: float = 0.0) -> list[Made]:
        return [made for _ in range(count) if (made := self.turn(rate)) is not None]


def test_maker_scales_to_zero_once_nothing_is_kept_warm() -> None:
    """First the lanes, in the turn in which the policy lets go; then the machine; then nothing is said any more."""
    world = Cooling()
    world.turns(3, rate=20.0)
    assert world.variants != set()
    world.turns(20)
    assert world.variants != set()
    assert len(world.hosts) == 1

    world.warm = ()
    cooled = world.turn(0.0)
    assert cooled is not None
    assert (cooled.verdict.why, cooled.hosts) == ("idle", {"e1": {}})
    world.turns(12)
    assert list(world.hosts) == []
    assert world.pool is not None
    assert world.pool.alive == 0
    assert all(not made.news and made.hosts == {} for made in world.turns(12))


def test_maker_a_query_brings_a_machine_and_then_its_variant() -> None:
    """The machine is ordered in the same turn; what it should hold once it is there."""
    world = Cooling()
    world.warm, world.hosts, world.pool = (), (), msgspec.structs.replace(POOL, alive=0)
    world.turns(10)

    asked = world.turn(0.2)
    assert asked is not None
    assert asked.pools == {"cpu": (1, ())}
    assert asked.classes[0].unserved_qps > 0
    world.warm, world.hosts = ("task=t",), (Host(name="e1", pool="cpu", cores=2),)
    booted = world.turn(0.2)
    assert booted is not None
    assert booted.hosts["e1"] != {}
    assert booted.classes[0].unserved_qps == 0


def test_maker_loads_ahead_what_becomes_warm_again() -> None:
    """Before anybody asks: the histogram's pre-warming."""
    world = Cooling()
    world.warm, world.pool = (), None
    world.turns(1)
    assert world.variants == set()

    world.warm = ("model=good",)
    made = world.turn(0.0)
    assert made is not None
    assert (made.verdict.why, set(made.hosts), world.variants) == ("warm", {"e1"}, {"good/v"})
    assert [each.hosts for each in world.turns(3) if each.hosts] == []
