"""Whether a proposal is carried out: at once, once it has been better for a while, or not at all. Pure.

Lanes that leave demand unserved are changed at once; lanes that suffice only for a gain that lasts. Machines go only
when what they held is loaded elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from agents.planning import Proposal
from streams.plans import Demand, Snapshot

UNSERVED = 0.001  # of all demand: a difference below it is rounding
MOVED = 0.05  # of a class's demand: by more than this a plan is made anew
MOVED_QPS = 0.5  # and more than that


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """`gain_min` of the objective, in accuracy; the times for which a gain, and lanes of leaving machines, hold."""

    gain_min: float
    gain_hold_us: int
    settle_us: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`why` is empty where what stands is kept; `gaining_us`: since when the proposals are better, 0 if not."""

    why: str
    gaining_us: int = 0


def judged(
    proposal: Proposal, snapshot: Snapshot, ordered: Collection[str], *, rule: Rule, gaining_us: int, now_us: int
) -> Verdict:
    """Whether to take the proposal's lanes.

    ordered: the executors that have an order; one without takes whatever it likes.
    """
    if any(host.name not in ordered for host in snapshot.hosts):
        return Verdict(why="executors")
    standing = proposal.standing
    if standing is None:
        return Verdict(why="first")
    asked = sum(plan.demand_qps for plan in proposal.classes)
    less_qps = standing.unserved_qps - sum(plan.unserved_qps for plan in proposal.classes)
    if less_qps > UNSERVED * asked:
        return Verdict(why="unserved")
    if proposal.warming:
        return Verdict(why="warm")
    if proposal.needless:
        return Verdict(why="idle")
    if proposal.objective - standing.objective <= rule.gain_min:
        return Verdict(why="")
    since_us = gaining_us or now_us
    if now_us - since_us >= rule.gain_hold_us:
        return Verdict(why="gain")
    return Verdict(why="", gaining_us=since_us)


def trigger(snapshot: Snapshot, last: Snapshot | None) -> str:
    """Why a plan is due: something is not as it was for the last one; empty if nothing is worth the solver's time."""
    if last is None:
        return "first"
    if snapshot.hosts != last.hosts or snapshot.pools != last.pools:
        return "fleet"
    before = {demand.klass: demand for demand in last.demands}
    if before.keys() != {demand.klass for demand in snapshot.demands}:
        return "classes"
    if any(_moved(before[demand.klass], demand) for demand in snapshot.demands):
        return "load"
    return "" if _rest(snapshot) == _rest(last) else "policies"


def _rest(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, made_us=0, hosts=(), pools=(), demands=())


def _moved(before: Demand, now: Demand) -> bool:
    return any(
        abs(b - a) > max(MOVED_QPS, MOVED * max(a, b))
        for a, b in ((before.near, now.near), (before.far, now.far), (before.backlog / 10.0, now.backlog / 10.0))
    )


class Leaving(msgspec.Struct, frozen=True, kw_only=True):
    """Executors of one pool that are to go, since when."""

    names: tuple[str, ...]
    since_us: int


def leaving(
    machines: Mapping[str, int], snapshot: Snapshot, before: Mapping[str, Leaving], *, now_us: int
) -> dict[str, Leaving]:
    """Who goes where a pool is to shrink: who was chosen before, then who holds least, the last by name first."""
    found = {}
    for pool in snapshot.pools:
        surplus = pool.alive - machines.get(pool.pool, pool.alive)
        hosts = [host for host in snapshot.hosts if host.pool == pool.pool]
        old = before.get(pool.pool)
        chosen = () if old is None else old.names
        surplus -= pool.alive - len(hosts) if pool.alive > len(hosts) else 0  # what boots goes first, by itself
        if surplus <= 0:
            continue
        hosts.sort(key=lambda host: host.name, reverse=True)
        order = sorted(hosts, key=lambda host: (host.name not in chosen, sum(host.held.values())))
        names = tuple(sorted(host.name for host in order[:surplus]))
        found[pool.pool] = Leaving(names=names, since_us=old.since_us if old and old.names == names else now_us)
    return found


def without(snapshot: Snapshot, gone: Collection[str]) -> Snapshot:
    """The same fleet without some executors: what the others must be able to carry before those go."""
    return msgspec.structs.replace(snapshot, hosts=tuple(host for host in snapshot.hosts if host.name not in gone))


def settled(since_us: int, loading: bool, *, rule: Rule, now_us: int) -> bool:
    """Whether machines may go: nothing loads any more that they held, or it takes too long to wait for."""
    return not loading or now_us - since_us >= rule.settle_us
