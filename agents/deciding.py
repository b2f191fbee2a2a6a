"""What was weighed for one query: each variant that answers what is asked, when it would be done, and why not it. Pure.

A look after the choice that changes nothing: nothing is counted, picked or sent, and where a prediction plays an
executor's drain forward, it is put back. (Played at other instants it makes other batches of what is sent later.)
The query that was just sent is in the queues by then; lanes that share its executor's cores are told a little later
than they were a moment before.
"""

from __future__ import annotations

from typing import NamedTuple, assert_never

from agents.counts import class_of
from agents.demand import Demand
from agents.groups import Group, Why
from agents.lots import drawn
from agents.reckoning import Executor, Lane
from agents.selection import Selector
from agents.verdict import Chosen, Parked, Refused, accuracy_of
from registry.catalog import Offer
from streams.clock import NEVER, to_ms
from streams.contract import TargetKind
from streams.decisions import Candidate, Decision
from streams.query import Query, Requirements

LANES_MAX = 8  # of a group that are looked at: as many as a block probes
CANDIDATES_MAX = 64  # of one decision; the choice is among them

Still = tuple[Lane, int, int, int, int, int, int]


def decided(
    selector: Selector, query: Query, outcome: Chosen | Refused | Parked, *, router: str, reply_topic: str, now_us: int
) -> Decision:
    """The record of one look, in the order of preference; call it before anything else is selected."""
    seen = _Seen(selector, query, outcome, now_us=now_us)
    try:
        found = [seen.candidate(group) for group in seen.groups]
    finally:
        seen.stills.restore()
    ranked = sorted(found, key=lambda each: bool(each.no)) if len(found) > CANDIDATES_MAX else found  # the choice first
    match outcome:
        case Chosen(offer=offer):
            what, why = "chosen", outcome.why.value + (f": {outcome.missed}" if outcome.missed else "")
            variant, pool, executor = offer.variant, offer.pool, outcome.executor
        case Refused(error=error):
            what, why, variant, pool, executor = error.code, error.message, "", "", ""
        case Parked():
            what, why = "parked", _waits(seen.asked, seen.groups)
            variant = pool = executor = ""
        case _:
            assert_never(outcome)
    return Decision(
        query_id=query.query_id, klass=class_of(query.requirements), router=router, at_us=now_us,
        arrived_us=query.arrived_us, deadline_us=seen.deadline_us, outcome=what, why=why, variant=variant, pool=pool,
        executor=executor, attempt=query.attempt, epoch=selector.epoch, candidates=tuple(ranked[:CANDIDATES_MAX]),
        left_out=max(0, len(found) - CANDIDATES_MAX), reply_topic=reply_topic,
    )  # fmt: skip


class _Inside(NamedTuple):
    """What of a selector is read here and by nobody else."""

    groups: list[Group]
    demand: Demand
    lot: frozenset[str]
    silence_us: int
    reserve_us: int


def _inside(selector: Selector, query: Query) -> _Inside:
    """The demand that a query is selected by: its class's, or that of its canaries' lot."""
    groups = list(selector._groups.values())  # noqa: SLF001 - a look at selection from beside it, kept out of its file
    demand = selector._demands.get(id(query.requirements))  # noqa: SLF001
    if demand is None:
        demand = Demand(query.requirements, selector._catalog, groups)  # noqa: SLF001
    lot = drawn(query.query_id, demand.canaries)
    mine = demand.lots.get(lot, demand) if lot else demand
    if mine is not demand and (not mine.tried or mine.refused is not None):
        mine = demand
    fleet, reserve_us = selector._fleet, selector._reserve_us  # noqa: SLF001
    return _Inside(groups, mine, mine.lot, fleet.silence_us, reserve_us)


class _Seen:
    """One query against what could answer it."""

    def __init__(
        self, selector: Selector, query: Query, outcome: Chosen | Refused | Parked, *, now_us: int
    ) -> None:  # fmt: skip
        self.inside = _inside(selector, query)
        self.query, self.outcome, self.now_us = query, outcome, now_us
        self.asked, self.demand = query.requirements, self.inside.demand
        self.deadline_us = query.deadline_us
        if self.deadline_us == NEVER and self.demand.slo_us != NEVER:
            self.deadline_us = query.arrived_us + self.demand.slo_us
        self.models = {canary.model for canary in self.demand.canaries}
        self.rank = {id(group): at for at, group in enumerate(self.demand.groups + self.demand.below)}
        self.groups = sorted(
            (group for group in self.inside.groups if _answers(group.offer, self.asked)),
            key=lambda group: (self._at(group), -group.offer.accuracy, group.offer.variant, group.offer.pool),
        )
        self.planned = {id(group) for group in self.demand.planned(now_us)}
        self.quotas = {id(group): quota.qps for group, quota in self.demand.quotas}
        self.stills = _Stills(now_us)
        self.taken = next((group for group in self.groups if self._is_choice(group)), None)

    def candidate(self, group: Group) -> Candidate:
        offer, outcome = group.offer, self.outcome
        if group is self.taken and isinstance(outcome, Chosen):
            return self._told(offer, outcome.predicted_finish_us, outcome.executor, "")
        lane, finish_us = self._best(group)
        if lane is None:
            return self._told(offer, None, "", self._barred(offer) or _idle(group))
        no = self._barred(offer) or self._late(finish_us) or self._passed_over(group)
        return self._told(offer, finish_us, lane.executor.name, no)

    def _told(self, offer: Offer, finish_us: int | None, executor: str, no: str) -> Candidate:
        after_us = None if finish_us is None else finish_us - self.query.arrived_us
        return Candidate(
            variant=offer.variant, pool=offer.pool, accuracy=offer.accuracy, finish_us=after_us, executor=executor,
            no=no,
        )  # fmt: skip

    def _at(self, group: Group) -> int:
        """Its place in the order of preference; whatever is barred comes last."""
        return self.rank.get(id(group), len(self.rank))

    def _is_choice(self, group: Group) -> bool:
        if not isinstance(self.outcome, Chosen):
            return False
        taken = self.outcome.offer
        return (group.offer.variant, group.offer.pool) == (taken.variant, taken.pool)

    def _best(self, group: Group) -> tuple[Lane | None, int]:
        """The lane that would be done first, and when, with the reply reserve."""
        best, best_us, patient = None, int(NEVER), self.deadline_us >= NEVER
        for lane in group.lanes[:LANES_MAX]:
            executor = lane.executor
            if not executor.ready or self.now_us - executor.heard_us > self.inside.silence_us:
                continue
            self.stills.keep(lane)
            finish_us = lane.finish_us(self.now_us) + (executor.patient_us if patient else 0)
            if finish_us < best_us:
                best, best_us = lane, finish_us
        return best, best_us + self.inside.reserve_us

    def _barred(self, offer: Offer) -> str:
        """The requirement that rules an offer out, however free its lanes are."""
        asked = self.asked
        if asked.kind is not TargetKind.VARIANT and offer.model in self.models:
            if offer.share is not None and offer.model not in self.inside.lot:
                return f"a canary, for {offer.share:.0%} of the queries; this one drew the stable version"
            if offer.share is None and offer.model in self.inside.lot:
                return "this query drew the canary of its model"
        if (floor := accuracy_of(asked, offer)) < asked.accuracy_min:
            return f"accuracy {floor:.4g} is below the floor of {asked.accuracy_min:g}"
        if asked.cost_max is not None and offer.cost_usd > asked.cost_max:
            return f"${offer.cost_usd:.3g} for 1,000 queries is above the ceiling of ${asked.cost_max:g}"
        return ""

    def _late(self, finish_us: int) -> str:
        late_us = finish_us - self.deadline_us
        return f"would be late by {to_ms(late_us):.1f} ms" if late_us > 0 else ""

    def _passed_over(self, group: Group) -> str:
        """Why a candidate that keeps everything was not taken."""
        outcome, taken = self.outcome, self.taken
        if not isinstance(outcome, Chosen) or taken is None:
            if self.asked.priority == 0:
                return "not idle enough for priority 0"
            return "in time alone, but not in a full block of its queries"
        match outcome.why:
            case Why.REPEATED:
                return "the same query id went elsewhere before"
            case Why.TRIED:
                return "a lane that was slow had to be tried"
            case Why.OFFLINE if self._at(group) < self._at(taken):
                return "not idle enough for priority 0"
        if self._at(group) > self._at(taken):
            return _worse(group.offer, taken.offer)
        if id(taken) in self.quotas and id(group) not in self.planned:
            qps = self.quotas.get(id(group))
            share = "none of this class" if qps is None else f"{qps:.3g}/s, used up by now"
            return f"outside the plan's share ({share})"
        full_us = self.now_us + group.latency_us[group.cap] + self.inside.reserve_us
        if full_us > self.deadline_us:
            return f"a full block of {group.cap} there would be late by {to_ms(full_us - self.deadline_us):.1f} ms"
        return "no lane of it was free enough a moment before"


class _Stills:
    """Executors whose drain predictions play forward, as they were: few, for most have nothing due."""

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us
        self._kept: dict[str, tuple[Executor, tuple[int, int, int], dict[Lane, None], list[Still]]] = {}

    def keep(self, lane: Lane) -> None:
        """Note an executor before its lane's finish is asked for."""
        executor, now_us = lane.executor, self._now_us
        if lane.alone:
            due = lane.free_us <= now_us and bool(lane.queued or lane.patient)
        else:
            due = executor.busy_until_us <= now_us and bool(executor.work_us or executor.patient_us)
        if due and executor.name not in self._kept:
            lanes = [
                (each, each.queued, each.patient, each.head_us, each.work_us, each.patient_us, each.free_us)
                for each in executor.lanes.values()
            ]
            own = executor.busy_until_us, executor.work_us, executor.patient_us
            self._kept[executor.name] = executor, own, dict(executor.waiting), lanes  # waiting: its order counts

    def restore(self) -> None:
        for executor, own, waiting, lanes in self._kept.values():
            executor.busy_until_us, executor.work_us, executor.patient_us = own
            executor.waiting = waiting
            for each, *fields in lanes:
                each.queued, each.patient, each.head_us, each.work_us, each.patient_us, each.free_us = fields


def _worse(offer: Offer, taken: Offer) -> str:
    if offer.accuracy < taken.accuracy:
        return f"less accurate than the choice ({taken.accuracy:.4g})"
    if offer.pool != taken.pool:
        return "as accurate on quicker hardware, which is left to tighter deadlines"
    return "as accurate and slower on the same hardware"


def _idle(group: Group) -> str:
    return "its executors are silent" if group.lanes else "no lane of it is running"


def _waits(asked: Requirements, groups: list[Group]) -> str:
    if asked.priority == 0:
        return "priority 0 waits until a machine would idle"
    if not any(group.lanes for group in groups):
        return "nothing that may serve it is running; it waits for that, and is tried again"
    return "nothing that may serve it can take it now; it is tried again"


def _answers(offer: Offer, asked: Requirements) -> bool:
    match asked.kind:
        case TargetKind.TASK:
            return offer.task == asked.target
        case TargetKind.MODEL:
            return offer.model == asked.target
        case TargetKind.VARIANT:
            return offer.variant == asked.target
