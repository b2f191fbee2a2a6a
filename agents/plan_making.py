"""Making one plan after the other: what is asked of the solver, what of its proposals is taken, and what is said.

Pure but for the clock that bounds the solver; called in a thread, one plan at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

import msgspec

from agents.planner_settings import PlannerSettings
from agents.planning import Options, PoolProposal, Proposal, finite, lanes, machines
from agents.steering import UNSERVED, Leaving, Rule, Verdict, judged, leaving, settled, trigger, without
from optimizer.transition import PoolState
from registry.catalog import Catalog
from streams.plans import ClassPlan, PlanRecord, Snapshot

URGENT_US = 2_000_000  # between two looks at the machines while a class is unserved
SHARE_MOVED = 0.1  # of a class's flow: by more than that its shares are said anew


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A plan. `hosts`: lanes of the executors that are to hold something else; `pools`: machines, and who leaves.

    `news`: it says something that the last one did not.
    """

    snapshot: Snapshot
    options: Options
    trigger: str
    proposal: Proposal
    verdict: Verdict
    hosts: dict[str, dict[str, int]]
    pools: dict[str, tuple[int, tuple[str, ...]]]
    sizes: PoolProposal | None
    news: bool

    @property
    def kept(self) -> bool:
        """Whether the lanes that are there stay as they are."""
        return not self.verdict.why and self.proposal.standing is not None

    @property
    def status(self) -> str:
        return "kept" if self.kept else self.proposal.status

    @property
    def classes(self) -> tuple[ClassPlan, ...]:
        standing = self.proposal.standing
        return standing.classes if self.kept and standing is not None else self.proposal.classes

    def record(self, epoch: int, planner: str) -> PlanRecord:
        """As it is published."""
        proposal, standing, sizes = self.proposal, self.proposal.standing, self.sizes
        kept = standing if self.kept else None
        return PlanRecord(
            epoch=epoch, planner=planner, made_us=self.snapshot.made_us,
            trigger=", ".join(part for part in (self.trigger, self.verdict.why) if part), snapshot=self.snapshot,
            options=msgspec.to_builtins(self.options), classes=self.classes, status=self.status,
            hosts={host.name: host.held for host in self.snapshot.hosts} if kept is not None else proposal.hosts,
            method=proposal.method, objective=proposal.objective if kept is None else kept.objective,
            accuracy=proposal.accuracy if kept is None else kept.accuracy, usd_hour=proposal.usd_hour,
            bound=finite(proposal.bound), gap_usd_hour=finite(proposal.gap_usd_hour), wall_s=round(proposal.wall_s, 4),
            homeless={} if kept is not None else proposal.homeless, rounds=proposal.rounds,
            machines={pool: count for pool, (count, _) in self.pools.items()},
            planned={} if sizes is None else sizes.planned, held_back={} if sizes is None else sizes.why,
        )  # fmt: skip


class Maker:
    """What is remembered from plan to plan: nothing that a new planner could not do without."""

    def __init__(
        self, options: Options, settings: PlannerSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._options = options
        self._machines_us = round(settings.machines_s * 1e6)
        self._rule = Rule(
            gain_min=settings.gain_min, gain_hold_us=round(settings.gain_hold_s * 1e6),
            settle_us=round(settings.settle_s * 1e6),
        )  # fmt: skip
        self._clock = clock
        self._last: Snapshot | None = None
        self._said: tuple[ClassPlan, ...] = ()
        self._gaining_us = 0
        self._sized_us = 0
        self._states: dict[str, PoolState] = {}
        self._sizes: PoolProposal | None = None
        self._leaving: dict[str, Leaving] = {}

    def make(
        self, snapshot: Snapshot, catalog: Catalog, ordered: Collection[str], loading: Collection[str], *,
        fresh: bool = False,
    ) -> Made | None:  # fmt: skip
        """The next plan, or None if nothing is due.

        ordered: executors that have an order; `loading`: those that have not carried it out yet.
        fresh:   say it even if nothing changes.
        """
        now_us = snapshot.made_us
        why = "takeover" if fresh else trigger(snapshot, self._last)
        due = now_us - self._sized_us >= self._machines_us and bool(snapshot.pools)
        if not (why or due or self._gaining_us or self._leaving):
            return None
        going = {name for each in self._leaving.values() for name in each.names}
        staying = without(snapshot, going)
        proposal = lanes(staying, catalog, self._options, clock=self._clock)
        verdict = judged(
            proposal, staying, ordered, rule=self._rule, gaining_us=self._gaining_us, now_us=now_us
        )  # fmt: skip
        self._last, self._gaining_us = snapshot, verdict.gaining_us
        asked = sum(each.demand_qps for each in proposal.classes)
        unserved = sum(each.unserved_qps for each in proposal.classes) > UNSERVED * asked
        urgent = unserved and now_us - self._sized_us >= URGENT_US and bool(snapshot.pools)
        if due or urgent:
            self._size(snapshot, catalog, now_us)
        made = Made(
            snapshot=staying, options=self._options, trigger=why or ("time" if due else "gain"), proposal=proposal,
            verdict=verdict, hosts=proposal.hosts if verdict.why else {}, sizes=self._sizes,
            pools=self._pools(snapshot, loading, going, now_us), news=True,
        )  # fmt: skip
        news = fresh or moved(self._said, made.classes)
        if news:
            self._said = made.classes
        return msgspec.structs.replace(made, news=news)

    def _size(self, snapshot: Snapshot, catalog: Catalog, now_us: int) -> None:
        """How many machines; and who goes, if there are too many."""
        self._sized_us = now_us
        self._sizes = machines(snapshot, catalog, self._options, self._states, clock=self._clock)
        self._states = dict(self._sizes.states)
        self._leaving = leaving(self._sizes.machines, snapshot, self._leaving, now_us=now_us)

    def _pools(
        self, snapshot: Snapshot, loading: Collection[str], going: Collection[str], now_us: int
    ) -> dict[str, tuple[int, tuple[str, ...]]]:
        """What pools should be ordered by now; a smaller one only once the others hold what its machines held."""
        if self._sizes is None:
            return {}
        orders: dict[str, tuple[int, tuple[str, ...]]] = {}
        busy = any(name not in going for name in loading)
        for pool in snapshot.pools:
            wanted = self._sizes.machines.get(pool.pool)
            if wanted is None:
                continue
            gone = self._leaving.get(pool.pool)
            if gone is None:
                orders[pool.pool] = wanted, ()
            elif set(gone.names) <= set(going) and settled(gone.since_us, busy, rule=self._rule, now_us=now_us):
                orders[pool.pool] = wanted, gone.names
        present = {host.name for host in snapshot.hosts}
        self._leaving = {pool: each for pool, each in self._leaving.items() if present & set(each.names)}
        return orders


def moved(before: Collection[ClassPlan], now: Collection[ClassPlan]) -> bool:
    """Whether a class goes elsewhere than was said, or is bound by something else."""
    old = {plan.klass: plan for plan in before}
    if old.keys() != {plan.klass for plan in now}:
        return True
    return any(
        old[plan.klass].binding != plan.binding or _distance(_shares(old[plan.klass]), _shares(plan)) > SHARE_MOVED
        for plan in now
    )


def _shares(plan: ClassPlan) -> dict[tuple[str, str], float]:
    total = sum(qps for _, _, qps in plan.flows) or 1.0
    return {(variant, pool): qps / total for variant, pool, qps in plan.flows}


def _distance(a: Mapping[tuple[str, str], float], b: Mapping[tuple[str, str], float]) -> float:
    return sum(abs(a.get(key, 0.0) - b.get(key, 0.0)) for key in a.keys() | b.keys()) / 2
