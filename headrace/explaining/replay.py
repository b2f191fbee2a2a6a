"""Whether a plan comes out again from its snapshot, and if not, in what it differs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agents.planning import Proposal
from streams.plans import ClassPlan, PlanRecord

RATE_MIN = 0.05  # of a class's demand: a share that moves by less is the same


def replayed(record: PlanRecord, again: Proposal) -> tuple[str, ...]:
    """What differs from the record, in words; empty if nothing does.

    A plan that kept what was held is compared by what those lanes do, since others were proposed and not taken.
    """
    if record.status == "kept":
        standing = again.standing
        return _classes(record.classes, () if standing is None else standing.classes)
    differs: list[str] = []
    for name in sorted(record.hosts.keys() | again.hosts.keys()):
        before, now = record.hosts.get(name, {}), again.hosts.get(name, {})
        differs += [
            f"{name}: {variant} x{now.get(variant, 0)} instead of x{before.get(variant, 0)}"
            for variant in sorted(before.keys() | now.keys())
            if before.get(variant, 0) != now.get(variant, 0)
        ]
    return tuple(differs)


def _classes(before: Sequence[ClassPlan], now: Sequence[ClassPlan]) -> tuple[str, ...]:
    known = {each.klass: each for each in now}
    differs: list[str] = []
    for plan in before:
        other = known.get(plan.klass)
        if other is None:
            differs.append(f"{plan.klass}: not planned for")
            continue
        slack = RATE_MIN * max(plan.demand_qps, other.demand_qps)
        was, is_ = ({(v, p): qps for v, p, qps in each.flows} for each in (plan, other))
        differs += [
            f"{plan.klass}: {is_.get(at, 0.0):.3g}/s to {at[0]} on {at[1]} instead of {was.get(at, 0.0):.3g}/s"
            for at in sorted(was.keys() | is_.keys())
            if abs(was.get(at, 0.0) - is_.get(at, 0.0)) > slack
        ]
    return tuple(differs)
