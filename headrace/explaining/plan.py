"""A plan explained: what it was made from, what binds it, what it would cost otherwise, and whether it comes out anew.

Pure but for the clock that bounds the solver: a record and the registry in, values out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import msgspec

from agents.planning import Options, Proposal, Weighed, lanes, machines, weighed
from headrace.explaining.replay import replayed
from headrace.explaining.why_not import NotTaken, not_taken
from registry.catalog import Catalog
from streams.errors import BadRecord
from streams.plans import ClassPlan, PlanRecord, Snapshot

ALTERNATIVES_MAX = 12  # solves of at most `solve_s` each: somebody waits for them
RATE_MIN = 1e-3  # of the demand: a class that goes unserved by less is served


class ClassExplained(msgspec.Struct, frozen=True, kw_only=True):
    """One class. Units: queries per second; `near`, `measured` and `backlog` as the planner saw them."""

    klass: str
    near: float
    measured: float
    backlog: float
    demand_qps: float
    unserved_qps: float
    binding: str
    words: str
    flows: tuple[tuple[str, str, float], ...]
    not_taken: tuple[NotTaken, ...]


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """The best plan without one variant that was chosen, against the plan with it.

    Units: `accuracy_pp` points of the accuracy served, `unserved_qps` queries per second more; `usd_hour` is for the
    machines that the far forecast then needs, None where nobody starts machines or it was not worked out.
    """

    without: str
    accuracy_pp: float
    unserved_qps: float
    objective: float
    lanes: dict[str, int]
    usd_hour: float | None = None


class PlanExplained(msgspec.Struct, frozen=True, kw_only=True):
    """`alternatives`: the best first; `left_out` chosen variants were not tried. `replay`: what differs, if anything.

    `offline`: classes that no plan is made for, and why.
    """

    plan: PlanRecord
    classes: tuple[ClassExplained, ...]
    alternatives: tuple[Alternative, ...]
    left_out: int
    replay: tuple[str, ...]
    offline: tuple[str, ...]


def explained(record: PlanRecord, catalog: Catalog, *, clock: Callable[[], float]) -> PlanExplained:
    """Work out all that can be said of a plan.

    Raises: BadRecord if it is of a planner of another version.
    """
    try:
        options = msgspec.convert(record.options, Options)
    except msgspec.ValidationError as foreign:
        raise BadRecord(f"the options of plan {record.epoch} are of another version: {foreign}") from foreign
    ground = weighed(record.snapshot, catalog, options)
    again = lanes(record.snapshot, catalog, options, clock=clock)
    planned = {each.klass for each in record.classes}
    found, left_out = _alternatives(record, catalog, options, again, clock)
    return PlanExplained(
        plan=record, classes=_classes(record, ground, catalog, options), alternatives=found, left_out=left_out,
        replay=replayed(record, again),
        offline=tuple(each.klass for each in record.snapshot.demands if each.klass not in planned),
    )  # fmt: skip


def _classes(
    record: PlanRecord, ground: Weighed, catalog: Catalog, options: Options
) -> tuple[ClassExplained, ...]:  # fmt: skip
    offers = catalog.offers()
    wanted = {each.name: each for each in ground.asked}
    demands = {each.klass: each for each in record.snapshot.demands}
    made = []
    for plan in record.classes:
        demand, asked = demands.get(plan.klass), wanted.get(plan.klass)
        if demand is None or asked is None:
            raise BadRecord(f"plan {record.epoch} has a class that its snapshot does not ask for: {plan.klass}")
        made.append(
            ClassExplained(
                klass=plan.klass, near=demand.near, measured=demand.measured, backlog=demand.backlog,
                demand_qps=plan.demand_qps, unserved_qps=plan.unserved_qps, binding=plan.binding,
                words=binding_words(plan), flows=plan.flows,
                not_taken=not_taken(
                    asked, plan, ground, offers, record.snapshot.hosts, reserve_us=options.reserve_us
                ),
            )
        )  # fmt: skip
    return tuple(made)


def binding_words(plan: ClassPlan) -> str:
    """What `binding` of a class means, for people."""
    lacks = plan.unserved_qps > RATE_MIN * plan.demand_qps
    held = "cannot serve all of it" if lacks else "cannot serve all of it more accurately"
    match plan.binding:
        case "none" if plan.demand_qps <= 0:
            return "nothing: nobody asks for it at present"
        case "none":
            return "nothing: the most accurate variant that may serve it does"
        case "no-lane":
            return "its own requirements: no variant on any machine that is there keeps them"
        case "machines":
            return f"machines: the pools that could do better have all that they may have, and {held}"
        case "budget":
            return f"budget: one more machine would cost more than there is, and the others {held}"
        case "room":
            return f"room: the machines that are there {held}"
        case "price":
            return "price: more accuracy is to be had, and costs more than it is worth"
        case other:
            return other


def _alternatives(
    record: PlanRecord, catalog: Catalog, options: Options, again: Proposal, clock: Callable[[], float]
) -> tuple[tuple[Alternative, ...], int]:
    """Solve again without each variant that was chosen, those that serve most first."""
    rate: dict[str, float] = {variant: 0.0 for held in record.hosts.values() for variant in held}
    for plan in record.classes:
        for variant, _, qps in plan.flows:
            rate[variant] = rate.get(variant, 0.0) + qps
    chosen = sorted(rate, key=lambda variant: (-rate[variant], variant))
    standing = again.standing if record.status == "kept" else None
    served = again if standing is None else standing
    found = [
        _without(variant, record.snapshot, catalog, options, served.accuracy, _unserved(served.classes), clock)
        for variant in chosen[:ALTERNATIVES_MAX]
    ]
    found.sort(key=lambda each: (round(each.unserved_qps, 3), -each.objective))
    if found and record.snapshot.pools:
        dear = _usd(record.snapshot, hidden(catalog, found[0].without), options, clock)
        found[0] = msgspec.structs.replace(found[0], usd_hour=dear - _usd(record.snapshot, catalog, options, clock))
    return tuple(found), len(chosen) - len(found)


def _without(
    variant: str, snapshot: Snapshot, catalog: Catalog, options: Options, accuracy: float, unserved_qps: float,
    clock: Callable[[], float],
) -> Alternative:  # fmt: skip
    other = lanes(snapshot, hidden(catalog, variant), options, clock=clock)
    return Alternative(
        without=variant, accuracy_pp=100 * (other.accuracy - accuracy),
        unserved_qps=_unserved(other.classes) - unserved_qps, objective=other.objective, lanes=counted(other.hosts),
    )  # fmt: skip


def _usd(snapshot: Snapshot, catalog: Catalog, options: Options, clock: Callable[[], float]) -> float:
    """What the machines cost that the far forecast needs."""
    price = {machine.pool: machine.usd_hour for machine in weighed(snapshot, catalog, options).machines}
    return sum(price[pool] * n for pool, n in machines(snapshot, catalog, options, {}, clock=clock).planned.items())


def hidden(catalog: Catalog, variant: str) -> Catalog:
    """The same catalogue as if a variant had never been measured."""
    other = copy.copy(catalog)
    other.profiles = {at: profile for at, profile in catalog.profiles.items() if at[0] != variant}
    return other


def counted(hosts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Lanes by variant."""
    total: dict[str, int] = {}
    for held in hosts.values():
        for variant, count in held.items():
            total[variant] = total.get(variant, 0) + count
    return dict(sorted(total.items()))


def _unserved(classes: tuple[ClassPlan, ...]) -> float:
    return sum(each.unserved_qps for each in classes)
