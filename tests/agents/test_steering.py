"""When a proposal is taken, who leaves a pool, and when a plan is due at all."""

from __future__ import annotations

import msgspec
import pytest

from agents.planning import Proposal, Standing
from agents.steering import Leaving, Rule, judged, leaving, settled, trigger, without
from streams.plans import ClassPlan, Demand, Host, PoolNow, Snapshot

RULE = Rule(gain_min=0.01, gain_hold_us=5, settle_us=30)
HOSTS = (
    Host(name="cpu-1", pool="cpu", cores=2, held={"a": 2}),
    Host(name="cpu-2", pool="cpu", cores=2, held={"a": 1}),
    Host(name="cpu-3", pool="cpu", cores=2, held={"a": 1}),
)
SNAPSHOT = Snapshot(
    made_us=0, hosts=HOSTS, pools=(PoolNow(pool="cpu", least=0, most=4, alive=3),),
    demands=(Demand(klass="c", near=100.0, far=100.0, measured=100.0),),
)  # fmt: skip
ORDERED = {host.name for host in HOSTS}


def proposal(*, unserved: float, objective: float, standing: tuple[float, float]) -> Proposal:
    """(unserved, objective) of what stands."""
    return Proposal(
        hosts={}, classes=(ClassPlan(klass="c", demand_qps=100.0, unserved_qps=unserved, binding="none"),),
        status="optimal", method="cp-sat", objective=objective, accuracy=objective, usd_hour=1.0,
        standing=Standing(unserved_qps=standing[0], objective=standing[1], accuracy=standing[1], classes=()),
    )  # fmt: skip


def test_judged_unserved_demand_changes_lanes_at_once() -> None:
    """More than rounding."""
    better = proposal(unserved=0.0, objective=0.8, standing=(5.0, 0.9))

    assert judged(better, SNAPSHOT, ORDERED, rule=RULE, gaining_us=0, now_us=1).why == "unserved"
    same = proposal(unserved=0.0, objective=0.8, standing=(0.05, 0.9))
    assert judged(same, SNAPSHOT, ORDERED, rule=RULE, gaining_us=0, now_us=1).why == ""


def test_judged_a_gain_must_last() -> None:
    """It is taken after five ticks in which it was there; a small one never."""
    gain = proposal(unserved=0.0, objective=0.92, standing=(0.0, 0.9))
    first = judged(gain, SNAPSHOT, ORDERED, rule=RULE, gaining_us=0, now_us=10)

    assert (first.why, first.gaining_us) == ("", 10)
    assert judged(gain, SNAPSHOT, ORDERED, rule=RULE, gaining_us=10, now_us=14).why == ""
    assert judged(gain, SNAPSHOT, ORDERED, rule=RULE, gaining_us=10, now_us=15).why == "gain"
    small = proposal(unserved=0.0, objective=0.905, standing=(0.0, 0.9))
    assert judged(small, SNAPSHOT, ORDERED, rule=RULE, gaining_us=10, now_us=15) == judged(
        small, SNAPSHOT, ORDERED, rule=RULE, gaining_us=0, now_us=99
    )


def test_judged_an_executor_without_an_order_gets_one() -> None:
    """Whatever the gain."""
    kept = proposal(unserved=0.0, objective=0.9, standing=(0.0, 0.9))

    assert judged(kept, SNAPSHOT, {"cpu-1"}, rule=RULE, gaining_us=0, now_us=1).why == "executors"


def test_leaving_takes_those_that_hold_least() -> None:
    """The last by name of equals; and stays with its choice, since when."""
    first = leaving({"cpu": 2}, SNAPSHOT, {}, now_us=7)
    assert first == {"cpu": Leaving(names=("cpu-3",), since_us=7)}

    chosen = {"cpu": Leaving(names=("cpu-1",), since_us=3)}
    assert leaving({"cpu": 2}, SNAPSHOT, chosen, now_us=7) == chosen
    assert leaving({"cpu": 1}, SNAPSHOT, chosen, now_us=7)["cpu"] == Leaving(names=("cpu-1", "cpu-3"), since_us=7)
    assert leaving({"cpu": 3}, SNAPSHOT, chosen, now_us=7) == {}


def test_leaving_what_boots_goes_before_what_serves() -> None:
    """Four are alive, three of them serve: one machine fewer is the one that boots."""
    pools = (PoolNow(pool="cpu", least=0, most=4, alive=4),)
    booting = msgspec.structs.replace(SNAPSHOT, pools=pools)

    assert leaving({"cpu": 3}, booting, {}, now_us=1) == {}
    assert leaving({"cpu": 2}, booting, {}, now_us=1)["cpu"].names == ("cpu-3",)


def test_settled_waits_for_loads_but_not_for_ever() -> None:
    """A load that hangs elsewhere does not keep a machine."""
    assert settled(0, False, rule=RULE, now_us=1)
    assert not settled(0, True, rule=RULE, now_us=29)
    assert settled(0, True, rule=RULE, now_us=30)


@pytest.mark.parametrize(
    ("near", "why"), [(100.0, ""), (104.0, ""), (106.0, "load"), (94.0, "load")]
)  # fmt: skip
def test_trigger_small_moves_of_the_load_are_not_worth_a_plan(near: float, why: str) -> None:
    """A twentieth is."""
    demand = msgspec.structs.replace(SNAPSHOT.demands[0], near=near)

    assert trigger(msgspec.structs.replace(SNAPSHOT, made_us=9, demands=(demand,)), SNAPSHOT) == why


def test_trigger_a_fleet_or_a_class_that_changed_is() -> None:
    """So is the first look."""
    assert trigger(SNAPSHOT, None) == "first"
    assert trigger(without(SNAPSHOT, {"cpu-1"}), SNAPSHOT) == "fleet"
    assert trigger(msgspec.structs.replace(SNAPSHOT, demands=()), SNAPSHOT) == "classes"
