"""Selection: which variant answers a query, and on which executor; the pure function at the router's heart.

Among the offers that keep accuracy and cost, the first in order of preference (demand.py) that is predicted to
finish in time; in its group, the lane that the policy picks (blocks.py). Predicted finish is the work ahead on the
executor, plus the p99 of the batch that the query would join, plus a reserve for the reply. What cannot be met is
refused in words, or served as `on-miss` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

import numpy as np

from agents.blocks import PROBES_MAX, SLACK_US, Blocks
from agents.demand import Demand
from agents.fleet import Fleet
from agents.groups import Group, Why
from agents.lots import LOTS_MAX, drawn
from agents.ownership import Ownership
from agents.quotas import Quotas
from agents.reckoning import Lane
from agents.spread import Random, RoundRobin, Spread
from agents.trials import TRIAL_EVERY, trial
from agents.verdict import Chosen, Parked, Refused, later, less_accurate, overloaded, passed, too_slow
from registry.catalog import Catalog, Offer
from streams.clock import NEVER, from_ms
from streams.contract import OnMiss
from streams.plans import ClassPlan
from streams.query import Query, Requirements

__all__ = ["Chosen", "Parked", "Refused", "SelectionSettings", "Selector", "Why"]

REFRESH_US = 500_000  # silence is noticed per query; the rings are cleared of the silent this often
FRESH_US = 100_000  # older telemetry may refuse what the executor could do
DEMANDS_MAX = 8_192


class SelectionSettings(Protocol):
    """What selection reads of the router's settings."""

    @property
    def policy(self) -> Literal["blocks", "round-robin", "random"]: ...
    @property
    def reply_reserve_ms(self) -> float: ...
    @property
    def live_correction(self) -> bool: ...


class Selector:
    """Chooses for one query at a time, and notes in the fleet what it chose: a `Chosen` query must be sent."""

    def __init__(
        self,
        catalog: Catalog,
        fleet: Fleet,
        *,
        settings: SelectionSettings,
        rng: np.random.Generator,
        ownership: Ownership | None = None,
    ) -> None:
        self._catalog = catalog
        self._fleet = fleet
        self._fleet.live_correction = settings.live_correction
        self._moved = fleet.moved
        self._ownership = ownership
        self._reserve_us = from_ms(settings.reply_reserve_ms)
        self._shared_policy: Spread = RoundRobin(fleet)
        policies: dict[str, Spread] = {
            "blocks": Blocks(fleet),
            "round-robin": self._shared_policy,
            "random": Random(fleet, rng=rng),
        }
        self._policy = policies[settings.policy]
        self._groups: dict[tuple[str, str], Group] = {}
        self._demands: dict[int, Demand] = {}  # by identity of the requirements, which the demand keeps alive
        self._version = self._changes = -1
        self._shape = 0
        self._quotas = Quotas()
        self._untried = 0  # queries that could have tried a lane in doubt, since one did
        self._refreshed_us = self._refresh_at_us = 0

    def select(
        self, query: Query, *, now_us: int, prefer: str | None = None, demand: Demand | None = None
    ) -> Chosen | Refused | Parked:
        """Choose for one query.

        `prefer`: the executor that the same query id went to before; taken if it can still serve the class.
        `demand`: what the query can be served with, if not all that its class can.
        Returns:  `Chosen`, noted as sent; `Refused` with the requirement that cannot be met; `Parked` if nothing
                  that may serve it is running (or, at priority 0, idle enough).
        """
        if (
            not self._refreshed_us <= now_us < self._refresh_at_us
            or self._fleet.changes != self._changes
            or self._catalog.version != self._version
        ):
            self.refresh(now_us=now_us)
        if self._moved:
            self._reseat()
        if demand is None:
            demand = self._demands.get(id(query.requirements)) or self._demand(query.requirements)
            if demand.canaries:
                demand = self._drawn(query, demand)
        if demand.shape != self._shape:
            demand.reshape(self._shape, reserve_us=self._reserve_us, quotas=self._quotas)
        if demand.refused is not None:
            return demand.refused
        deadline_us, slo_us = query.deadline_us, demand.slo_us
        if deadline_us == NEVER and slo_us != NEVER:
            deadline_us = query.arrived_us + slo_us
        due_us = deadline_us - self._reserve_us
        if prefer is not None and (lane := self._preferred(demand, prefer, now_us)) is not None:
            return self._send(lane, lane.finish_us(now_us), now_us, deadline_us, Why.REPEATED, query)
        if demand.requirements.priority == 0:
            return self._offline(query, demand, deadline_us, now_us)

        if demand.doubted:
            self._untried += 1
            if demand.promising or self._untried >= TRIAL_EVERY:
                tried = self._tried(demand.doubted, due_us, now_us)
                if tried is not None:
                    return self._send(tried, tried.finish_us(now_us), now_us, deadline_us, Why.TRIED, query)
        fastest = demand.fastest
        groups = demand.quick if deadline_us - query.arrived_us <= slo_us else demand.live
        for group in demand.planned(now_us) + groups if demand.quotas else groups:
            if due_us < group.closed_us and now_us < group.reopen_us:
                continue
            policy = self._shared_policy if group.shared else self._policy  # inline: it is the common path
            picked = policy.pick(group, due_us, now_us, group is not fastest)
            if picked is not None:
                executor = picked.executor
                group.took(due_us, now_us)
                if demand.quotas:
                    demand.took(group)
                return Chosen(
                    group.offer, executor.name, executor.slot, picked.sent(now_us, deadline_us >= NEVER),
                    group.finish_us + self._reserve_us, deadline_us, group.why,
                )  # fmt: skip
        return self._miss(query, demand, deadline_us, now_us)

    def follow(self, plans: Iterable[ClassPlan], *, epoch: int, now_us: int) -> None:
        """Follow another plan, or with no plans none."""
        if self._quotas.follow(plans, epoch=epoch, now_us=now_us):
            self._shape += 1

    @property
    def epoch(self) -> int:
        """Of the plan that is followed; 0 without one."""
        return self._quotas.epoch

    def block_us(self, offer: Offer) -> int:
        """What a full block of a variant takes now; a query with less time than that is left to the fastest."""
        group = self._groups[offer.variant, offer.pool]
        return group.latency_us[group.cap]

    @property
    def spared(self) -> int:
        """Lanes that are kept apart for being slower than others of their group."""
        return sum(len(group.spare) for group in self._groups.values())

    def refresh(self, *, now_us: int) -> None:
        """Take in what changed in the catalogue, the fleet or the ownership; also called by `select` when due."""
        if self._catalog.version != self._version:
            self._version = self._catalog.version
            offers = {(offer.variant, offer.pool): offer for offer in self._catalog.offers()}
            self._fleet.learn(offers)
            before, self._groups = self._groups, {}
            for key, offer in offers.items():
                group = self._groups[key] = before.get(key) or Group(offer, now_us=now_us)
                group.learn(offer)
            self._demands.clear()
            self._shape += 1
        rings: dict[tuple[str, str], list[Lane]] = {key: [] for key in self._groups}
        for executor in self._fleet.live(now_us=now_us):
            for lane in executor.lanes.values():
                rings[lane.offer.variant, lane.offer.pool].append(lane)
        for key, group in self._groups.items():
            lanes, shared = rings[key], False
            if self._ownership is not None and lanes:
                owned, shared = self._ownership.divide([lane.executor.name for lane in lanes], now_us=now_us)
                lanes = [lane for lane in lanes if lane.executor.name in owned]
            self._shape += group.seat(lanes, shared=shared)
        self._moved.clear()
        self._changes = self._fleet.changes
        self._refreshed_us, self._refresh_at_us = now_us, now_us + REFRESH_US

    def _reseat(self) -> None:
        """Compare the lanes of the groups in which some became slower or quicker, or wants to be tried."""
        for key in self._moved:
            group = self._groups.get(key)
            if group is not None:
                self._shape += group.seat(group.lanes, shared=group.shared)
        self._moved.clear()

    def _demand(self, requirements: Requirements) -> Demand:
        if len(self._demands) >= DEMANDS_MAX:
            self._demands.clear()
        demand = self._demands[id(requirements)] = Demand(requirements, self._catalog, self._groups.values())
        return demand

    def _drawn(self, query: Query, demand: Demand) -> Demand:
        """What the lot of this query id leaves: a canary instead of its model's stable version, if one runs."""
        lot = drawn(query.query_id, demand.canaries)
        if not lot:
            return demand
        mine = demand.lots.get(lot)
        if mine is None:
            if len(demand.lots) >= LOTS_MAX:
                demand.lots.clear()
            mine = Demand(demand.requirements, self._catalog, self._groups.values(), lot=lot, otherwise=demand)
            demand.lots[lot] = mine
        if mine.shape != self._shape:
            mine.reshape(self._shape, reserve_us=self._reserve_us, quotas=self._quotas)
        return mine if mine.tried and mine.refused is None else demand

    def _send(self, lane: Lane, finish_us: int, now_us: int, deadline_us: int, why: Why, query: Query) -> Chosen:
        """Choose off the common path, and say which requirement is given up by it, if one is."""
        executor, finish_us = lane.executor, finish_us + self._reserve_us
        self._groups[lane.offer.variant, lane.offer.pool].took(deadline_us - self._reserve_us, now_us)
        missed = less_accurate(query.requirements, lane.offer)
        if why is Why.LATE:
            missed = later(query, deadline_us=deadline_us, finish_us=finish_us)
        return Chosen(
            lane.offer, executor.name, executor.slot, lane.sent(now_us, deadline_us >= NEVER), finish_us,
            deadline_us, why, query.requirements.on_miss is OnMiss.LATE, missed,
        )  # fmt: skip

    def _preferred(self, demand: Demand, executor: str, now_us: int) -> Lane | None:
        """The best lane of one executor that may serve the class."""
        for group in demand.live:
            lane = self._fleet.lane(executor, group.offer.variant)
            if lane is not None and lane in group.lanes and self._routable(lane, now_us):
                return lane
        return None

    def _offline(self, query: Query, demand: Demand, deadline_us: int, now_us: int) -> Chosen | Refused | Parked:
        """Priority 0 goes only where the queue is short: nothing else waits there, and less than one batch of its own.

        So it fills batches of its own where a machine would idle, and delays others by the running batch at most.
        """
        due_us = deadline_us - self._reserve_us
        for group in demand.live:
            lanes = group.lanes
            for _ in range(min(len(lanes), PROBES_MAX)):
                group.at = group.at + 1 if group.at + 1 < len(lanes) else 0
                lane = lanes[group.at]
                finish_us = lane.finish_us(now_us)
                ahead_us = lane.executor.work_us + lane.executor.patient_us - lane.work_us - lane.patient_us
                short = not ahead_us and lane.queued + lane.patient < group.full
                if short and finish_us <= due_us and self._routable(lane, now_us):
                    group.at -= 1  # the next one too, until its batch is full
                    return self._send(lane, finish_us, now_us, deadline_us, Why.OFFLINE, query)
        fastest = demand.fastest
        if fastest is not None and now_us + fastest.quickest_us > due_us:
            return self._miss(query, demand, deadline_us, now_us)
        return Parked(deadline_us)

    def _miss(self, query: Query, demand: Demand, deadline_us: int, now_us: int) -> Chosen | Refused | Parked:
        """No feasible group can make the deadline as things are: do what `on-miss` says, else say why."""
        if demand.otherwise is not None:  # whoever draws a canary shall not suffer for it
            return self.select(query, now_us=now_us, demand=demand.otherwise)
        asked, due_us = demand.requirements, deadline_us - self._reserve_us
        late = asked.on_miss is OnMiss.LATE
        if now_us >= deadline_us and not late:
            return passed(deadline_us, now_us=now_us)
        for group in demand.below_live:  # empty unless on-miss is degrade
            lane = self._policy_of(group).pick(group, due_us, now_us, False)
            if lane is not None:
                return self._send(lane, group.finish_us, now_us, deadline_us, Why.DEGRADED, query)
        for group in demand.live if late else ():
            lane = self._policy_of(group).pick(group, int(NEVER), now_us, False)
            if lane is not None:
                return self._send(lane, group.finish_us, now_us, deadline_us, Why.LATE, query)
        fastest = demand.fastest_running
        if fastest is None:
            return Parked(int(NEVER) if late else deadline_us)
        lane = self._tried(demand.unsure, due_us, now_us)
        if lane is not None:
            return self._send(lane, lane.finish_us(now_us), now_us, deadline_us, Why.TRIED, query)
        needed_us = fastest.quickest_us + self._reserve_us
        if now_us + needed_us > deadline_us and not late:
            return too_slow(query, fastest.offer, needed_us=needed_us, deadline_us=deadline_us, now_us=now_us)
        return self._overloaded(query, demand, deadline_us, now_us)

    def _overloaded(self, query: Query, demand: Demand, deadline_us: int, now_us: int) -> Chosen | Refused | Parked:
        """Only load prevents it: refuse if the telemetry is fresh, else send to the lane that would finish first."""
        group: Group | None = None
        for closed in demand.running:
            if now_us < closed.reopen_us and (group is None or closed.least_us < group.least_us):
                group = closed
        lane = group.least if group is not None else None
        if group is None or lane is None or not self._routable(lane, now_us):
            return Parked(deadline_us)  # all of it fell silent since the last refresh
        finish_us = group.least_us
        late_us = finish_us + self._reserve_us - deadline_us
        if late_us > SLACK_US and now_us - lane.executor.heard_us < FRESH_US:
            return overloaded(
                lane.offer, finish_us=finish_us + self._reserve_us, deadline_us=deadline_us, now_us=now_us
            )
        return self._send(lane, finish_us, now_us, deadline_us, Why.LEAST, query)

    def _tried(self, doubted: list[Group], due_us: int, now_us: int) -> Lane | None:
        lane = trial(doubted, due_us, now_us, silence_us=self._fleet.silence_us) if doubted else None
        if lane is not None:
            self._untried = 0
        return lane

    def _policy_of(self, group: Group) -> Spread:
        return self._shared_policy if group.shared else self._policy

    def _routable(self, lane: Lane, now_us: int) -> bool:
        return lane.executor.ready and now_us - lane.executor.heard_us <= self._fleet.silence_us
