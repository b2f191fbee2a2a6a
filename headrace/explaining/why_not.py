"""Why a variant does not serve a class in a plan: the first constraint that excludes it, or what out-ranks it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from agents.planning import Weighed
from optimizer.serving import LaneOf, Machine, Wanted, form_wait_us, may_serve
from registry.catalog import Offer
from streams.clock import to_ms
from streams.plans import ClassPlan, Host

# In this order: of several that hold, the first is said.
Reason = Literal[
    "accuracy", "cost", "no machine", "failed", "too large", "slo", "less accurate", "no room", "not better"
]
LACKING = 1e-3  # of a class's demand: less than that unserved is rounding


class NotTaken(msgspec.Struct, frozen=True, kw_only=True):
    """A variant on a pool that serves nothing of a class, and why."""

    variant: str
    pool: str
    accuracy: float
    reason: Reason
    why: str


def not_taken(
    asked: Wanted, plan: ClassPlan, ground: Weighed, offers: Sequence[Offer], hosts: Sequence[Host], *, reserve_us: int
) -> tuple[NotTaken, ...]:
    """Every offer that matches the class's target and serves none of it, the most accurate first."""
    look = _Look(asked, plan, ground, offers, hosts, reserve_us)
    served = {(variant, pool) for variant, pool, _ in plan.flows}
    mine = [offer for offer in offers if look.matches(offer) and (offer.variant, offer.pool) not in served]
    made = []
    for offer in sorted(mine, key=lambda each: (-each.accuracy, each.variant, each.pool)):
        reason, why = look.why(offer)
        made.append(
            NotTaken(variant=offer.variant, pool=offer.pool, accuracy=offer.accuracy, reason=reason, why=why)
        )  # fmt: skip
    return tuple(made)


class _Look:
    """One class of one plan, from which each of its offers is judged."""

    def __init__(
        self, asked: Wanted, plan: ClassPlan, ground: Weighed, offers: Sequence[Offer], hosts: Sequence[Host],
        reserve_us: int,
    ) -> None:  # fmt: skip
        self.asked, self.plan, self.hosts, self.reserve_us = asked, plan, hosts, reserve_us
        self.machines: Mapping[str, Machine] = {machine.pool: machine for machine in ground.machines}
        self.kinds: dict[tuple[str, str], list[LaneOf]] = {}
        for lane in ground.offered:
            self.kinds.setdefault((lane.offer.variant, lane.offer.pool), []).append(lane)
        self.rate_qps = sum(other.demand_qps for other in ground.asked if other.target == asked.target)
        by_name = {(offer.variant, offer.pool): offer for offer in offers}
        self.serving = [by_name[v, p].accuracy for v, p, _ in plan.flows if (v, p) in by_name]

    def matches(self, offer: Offer) -> bool:
        level = self.asked.level
        name = offer.task if level == "task" else offer.model if level == "model" else offer.variant
        return name == self.asked.target

    def why(self, offer: Offer) -> tuple[Reason, str]:
        asked = self.asked
        if offer.accuracy < asked.accuracy_min:
            return "accuracy", f"accuracy {offer.accuracy:.4g} is below the floor of {asked.accuracy_min:g}"
        if asked.cost_max_usd is not None and offer.cost_usd > asked.cost_max_usd:
            return "cost", f"${offer.cost_usd:.3g} for 1,000 queries is above the ceiling of ${asked.cost_max_usd:g}"
        machine = self.machines.get(offer.pool)
        if machine is None or machine.machines_now == 0:
            more = f"; up to {machine.machines_max} may be started" if machine and machine.machines_max else ""
            return "no machine", f"no executor of pool {offer.pool} was there{more}"
        kinds = self.kinds.get((offer.variant, offer.pool), [])
        if not kinds:
            count = sum(host.pool == offer.pool for host in self.hosts)
            return "failed", f"none of the {count} executors of {offer.pool} could load it"
        wrong = _too_large(kinds[0], machine)
        if wrong:
            return "too large", wrong
        able = [
            kind for kind in kinds
            if may_serve(kind, asked, rate_qps=self.rate_qps, reserve_us=self.reserve_us)
        ]  # fmt: skip
        if not able:
            return "slo", self._late(kinds)
        return self._outranked(offer, max(able, key=lambda lane: lane.kind.capacity_qps), machine)

    def _late(self, kinds: Sequence[LaneOf]) -> str:
        """The batch with which it comes nearest to the SLO, and by how much it misses it."""
        slo_us = self.asked.slo_us
        assert slo_us is not None, "without an SLO every batch may serve"
        needs = {kind.batch: self._needs_us(kind) for kind in kinds}
        batch = min(needs, key=lambda size: (needs[size], size))
        run_us = next(kind for kind in kinds if kind.batch == batch).offer.latency.p99_us[batch]
        wait_us = needs[batch] - run_us - self.reserve_us
        parts = f"p99 {_ms(run_us)} + reply {_ms(self.reserve_us)}" + (f" + wait {_ms(wait_us)}" if wait_us else "")
        return (
            f"even in batches of {batch} it needs {_ms(needs[batch])} ({parts}), "
            f"{_ms(needs[batch] - slo_us)} more than the SLO of {_ms(slo_us)}"
        )

    def _needs_us(self, lane: LaneOf) -> float:
        capacity, run_us = lane.kind.capacity_qps, lane.offer.latency.p99_us[lane.batch]
        rate = max(self.rate_qps, capacity)
        lanes = math.ceil(rate / capacity - 1e-9)
        return form_wait_us(run_us, batch=lane.batch, rate_qps=rate, lanes=lanes) + run_us + self.reserve_us

    def _outranked(self, offer: Offer, lane: LaneOf, machine: Machine) -> tuple[Reason, str]:
        demand, capacity = self.plan.demand_qps, lane.kind.capacity_qps
        lacks = self.plan.unserved_qps > LACKING * demand
        if self.serving and not lacks and offer.accuracy < min(self.serving):
            return "less accurate", f"less accurate than all that serves ({min(self.serving):.4g}), which suffices"
        needed = max(1, math.ceil(demand / capacity - 1e-9))
        fits = machine.machines_now * _a_machine(lane, machine)
        carries = f"a lane carries {capacity:.3g}/s in batches of {lane.batch}; all of it takes {needed}"
        if needed > fits:
            return "no room", f"{carries}, and only {fits} fit on the pool's {machine.machines_now} machines"
        if not self.serving or offer.accuracy > min(self.serving):
            return "no room", f"{carries} of the {fits} that fit, and others need the room more"
        if lacks:
            return "no room", f"{carries} of the {fits} that fit; all is taken by lanes that serve more"
        return "not better", f"as accurate as what serves; {carries}"


def _too_large(lane: LaneOf, machine: Machine) -> str:
    cores, memory, _ = lane.kind.resources
    if cores > machine.cores:
        return f"takes {cores} cores, and the smallest machine of {machine.pool} has {machine.cores}"
    if memory > machine.memory_mib:
        return f"takes {memory} MiB, and the smallest machine of {machine.pool} has {machine.memory_mib}"
    return ""


def _a_machine(lane: LaneOf, machine: Machine) -> int:
    """How many lanes fit on an empty machine."""
    has = (machine.cores, machine.memory_mib, machine.device_units)
    return min(room // need for room, need in zip(has, lane.kind.resources, strict=True) if need)


def _ms(value_us: float) -> str:
    return f"{to_ms(round(value_us)):.1f} ms"
