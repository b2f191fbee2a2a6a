"""What one class of queries can be served with: its offers in the order of preference, or why there are none."""

from __future__ import annotations

from collections.abc import Iterable

from agents.counts import class_of
from agents.groups import Group
from agents.lots import Canary, canaries
from agents.quotas import Quota, Quotas
from agents.verdict import Refused, accuracy_of
from registry.catalog import Catalog, Offer
from registry.lifecycle import Role
from registry.records import Task
from streams.clock import NEVER, from_ms
from streams.contract import AccuracyBound, OnMiss, TargetKind
from streams.errors import (
    AccuracyUnreachable,
    CostUnreachable,
    HeadraceError,
    UnknownTarget,
    UnsupportedContentType,
)
from streams.query import Requirements


class Demand:
    """One class against one catalogue: `groups` meet accuracy and cost; `below` only cost, for `degrade`.

    Both are ordered best accuracy first; then the slowest pool, so that fast hardware stays free for tight SLOs; and
    within a pool the quickest variant, since the same hardware then does the same with less.
    `live` is what of `groups` has a lane now, `quick` what of that can meet the class's SLO when idle, `fastest`
    the group that everything spills to; `running` is `live` and then `below_live`.
    `canaries` are the versions on trial among what was asked for; of the models in `lot` only the canary is in
    `groups`, of the others only the stable version. `otherwise` is what a lot falls back to.
    Units: `slo_us` is NEVER for best effort.
    """

    def __init__(
        self,
        requirements: Requirements,
        catalog: Catalog,
        groups: Iterable[Group],
        *,
        lot: frozenset[str] = frozenset(),
        otherwise: Demand | None = None,
    ) -> None:
        self.requirements = requirements
        self.refused: Refused | None = None
        self.groups: list[Group] = []
        self.below: list[Group] = []
        self.slo_us = int(NEVER) if requirements.slo_us is None else requirements.slo_us
        self.shape = -1
        self.live: list[Group] = []
        self.quick: list[Group] = []
        self.below_live: list[Group] = []
        self.running: list[Group] = []
        self.fastest: Group | None = None
        self.fastest_running: Group | None = None
        self.canaries: tuple[Canary, ...] = ()
        self.lot = lot
        self.lots: dict[frozenset[str], Demand] = {}
        self.otherwise = otherwise
        self.tried = False  # a canary of the lot has a lane
        self.doubted: list[Group] = []  # with a lane that wants to be tried, and none of `live` sound before them
        self.unsure: list[Group] = []  # all of `running` with such a lane
        self.klass = class_of(requirements)
        self.quotas: list[tuple[Group, Quota]] = []  # of `live`, in its order: what a plan gives them of this class
        self.promising = False  # and one of these was as quick as it should be when it was last tried
        try:
            self._match(catalog, groups)
        except HeadraceError as error:
            self.refused = Refused(error.with_traceback(None))

    def planned(self, now_us: int) -> list[Group]:
        """The groups that the plan has more queries of this class for, the best first."""
        return [group for group, quota in self.quotas if quota.open(now_us)]

    def took(self, taken: Group) -> None:
        """Count a query against the plan's rate for the group that took it."""
        for group, quota in self.quotas:
            if group is taken:
                quota.take()

    def reshape(self, shape: int, *, reserve_us: int, quotas: Quotas) -> None:
        """Note which groups have lanes now, and how fast; `shape` numbers the states of the fleet."""
        self.shape = shape
        self.live = [group for group in self.groups if group.lanes]
        self.below_live = [group for group in self.below if group.lanes]
        self.running = self.live + self.below_live
        self.fastest = min(self.live, key=lambda group: group.quickest_us, default=None)
        self.fastest_running = min(self.running, key=lambda group: group.quickest_us, default=None)
        self.tried = any(group.offer.share is not None for group in self.live)
        planned = quotas.of(self.klass)
        found = ((group, planned.get((group.offer.variant, group.offer.pool))) for group in self.live)
        self.quotas = [(group, quota) for group, quota in found if quota is not None]
        slo_us = self.slo_us - reserve_us
        self.quick = [group for group in self.live if group.quickest_us <= slo_us]
        sound = next((n for n, g in enumerate(self.live) if g.quickest_us <= slo_us and g.sound), len(self.live))
        self.doubted = [group for group in self.live[: sound + 1] if group.doubted]
        self.unsure = [group for group in self.running if group.doubted]
        self.promising = any(lane.doubt > 1 for group in self.doubted for lane in group.doubted)

    def _match(self, catalog: Catalog, groups: Iterable[Group]) -> None:
        asked = self.requirements
        task = _task(asked, catalog)
        if task is not None and asked.content_type is not None and asked.content_type not in task.accepts:
            raise UnsupportedContentType(
                f"content-type {asked.content_type!r} is not one that {task.name!r} accepts: {', '.join(task.accepts)}"
            )
        if task is not None and task.slo_ms_default is not None and asked.slo_us is None:
            self.slo_us = from_ms(task.slo_ms_default)
        menu = [group for group in groups if _asked_for(group.offer, asked)]
        best: dict[str, float] = {}  # of each model, so that its canary takes its place in the order
        if asked.kind is not TargetKind.VARIANT:
            self.canaries = canaries(group.offer for group in menu)
            if self.canaries:
                for group in menu:
                    if group.offer.share is None:
                        best[group.offer.model] = max(group.offer.accuracy, best.get(group.offer.model, 0.0))
                menu = [g for g in menu if (g.offer.share is not None) == (g.offer.model in self.lot)]
        pace_us: dict[str, int] = {}
        for group in menu:
            pool, single_us = group.offer.pool, group.offer.latency.p99_us[1]
            pace_us[pool] = min(single_us, pace_us.get(pool, single_us))
        menu.sort(
            key=lambda g: (-_rank(g.offer, best), -pace_us[g.offer.pool], g.offer.latency.p99_us[1], g.offer.variant)
        )
        paid = [g for g in menu if asked.cost_max is None or g.offer.cost_usd <= asked.cost_max]
        self.groups = [group for group in paid if accuracy_of(asked, group.offer) >= asked.accuracy_min]
        if asked.on_miss is OnMiss.DEGRADE:
            self.below = [group for group in paid if accuracy_of(asked, group.offer) < asked.accuracy_min]
        if menu and not self.groups and not self.below:
            raise _unreachable(asked, [group.offer for group in menu])


def _rank(offer: Offer, best: dict[str, float]) -> float:
    """Accuracy; a canary's is that of the version that it may replace."""
    return offer.accuracy if offer.share is None else best.get(offer.model, offer.accuracy)


def _asked_for(offer: Offer, asked: Requirements) -> bool:
    match asked.kind:
        case TargetKind.TASK:
            return offer.task == asked.target
        case TargetKind.MODEL:
            return offer.model == asked.target
        case TargetKind.VARIANT:
            return offer.variant == asked.target


def _task(asked: Requirements, catalog: Catalog) -> Task | None:
    """The task that a target belongs to; None while its model is not registered yet.

    Raises: UnknownTarget if nothing of that name is registered.
    """
    name = asked.target
    match asked.kind:
        case TargetKind.TASK:
            known, task = name in catalog.tasks, name
        case TargetKind.MODEL:
            known, model = name in catalog.models, catalog.models.get(name)
            if (release := catalog.releases.get(name)) is not None and not release.stable:
                raise UnknownTarget(f"model {name!r} has no version in service")
            task = model.task if model else ""
        case TargetKind.VARIANT:
            variant = catalog.variants.get(name)
            known, model = variant is not None, catalog.models.get(variant.model) if variant else None
            if variant is not None and (role := catalog.versions.role_of(variant)) not in (Role.STABLE, Role.CANARY):
                version = catalog.versions.version_of(variant)
                raise UnknownTarget(
                    f"variant {name!r} is of {variant.model} {version}, which is {role}: not in service"
                )
            task = model.task if model else ""
    if not known:
        raise UnknownTarget(f"{asked.kind} {name!r} is not registered")
    return catalog.tasks.get(task)


def _unreachable(asked: Requirements, menu: list[Offer]) -> HeadraceError:
    """Which requirement rules every offer out: accuracy if none is good enough at any price, else cost."""
    lower = asked.accuracy_bound is AccuracyBound.LOWER
    best = max(menu, key=lambda offer: accuracy_of(asked, offer))
    if accuracy_of(asked, best) < asked.accuracy_min and asked.on_miss is not OnMiss.DEGRADE:
        end = f", {best.accuracy_low:.4g} at the lower end" if lower else ""
        return AccuracyUnreachable(
            f"accuracy-min {asked.accuracy_min:g} > best variant {best.variant!r}: {best.accuracy:g}{end}"
        )
    floor = 0.0 if asked.on_miss is OnMiss.DEGRADE else asked.accuracy_min
    enough = [offer for offer in menu if accuracy_of(asked, offer) >= floor]
    cheapest = min(enough, key=lambda offer: offer.cost_usd)
    return CostUnreachable(
        f"cost-max {asked.cost_max:g} USD per 1,000 < cheapest variant with accuracy {floor:g} or more, "
        f"{cheapest.variant!r}: {cheapest.cost_usd:.3g} USD"
    )
