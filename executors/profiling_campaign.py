"""Profiling many variants within one budget of time: measure some points of each, and predict the others."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from executors.profiling import Order, Profiled
from executors.profiling_plan import Item, Plan, known_of, lanes_of, measured_of, sizes_of
from executors.profiling_process import NotProfiled, profile_apart
from registry.predict import Known
from registry.predict_errors import Missed, Row, left_out, predicted, table
from registry.records import Profile, Variant


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a campaign. `left` had no time; an executor measures those itself when it loads them."""

    profiles: tuple[Profile, ...]
    refused: Mapping[str, str]
    left: tuple[str, ...]
    errors: tuple[Row, ...]
    seconds: float


class Campaign:
    """One pass over a plan's due variants.

    `kept` is called with each profile as soon as it is measured, its gaps predicted by what was known until then, so
    that a pass that is cut short loses nothing; and once more at the end with those whose gaps all others improved.
    """

    def __init__(
        self,
        plan: Plan,
        variants: Mapping[str, Variant],
        *,
        pool: str,
        cores: int,
        kept: Callable[[Sequence[Profile]], None],
        begun: Callable[[Item], None] = lambda _item: None,
        profile_one: Callable[[Order], Profiled] = profile_apart,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan, self._variants, self._pool, self._cores = plan, dict(variants), pool, cores
        self._kept, self._begun, self._profile_one, self._clock = kept, begun, profile_one, clock
        self._profiles: dict[str, Profile] = {p.variant: p for p in plan.held}
        self._known: dict[str, Known] = {}
        self._missed: dict[str, list[Missed]] = {}
        for profile in plan.held:
            self._learn(known_of(self._variants[profile.variant], profile.points))

    def run(self, *, budget_s: float, variant_s: float, whole: bool = False) -> Done:
        """Profile what is due: `variant_s` each, or an equal share of what is left of `budget_s` if that is less.

        A variant begins only while there is budget; loading counts, so the last may end a little after it.
        """
        began = self._clock()
        refused: dict[str, str] = {}
        left: list[str] = []
        fresh: list[str] = []
        for done, item in enumerate(self._plan.due):
            name, remaining_s = item.variant.name, budget_s - (self._clock() - began)
            if remaining_s <= 0:
                left.append(name)
                continue
            share_s = min(variant_s, remaining_s / (len(self._plan.due) - done))
            self._begun(item)
            try:
                self._measure(item, share_s=share_s, whole=whole)
            except NotProfiled as why:
                refused[name] = why.message
                continue
            fresh.append(name)
            self._kept(self._completed([name]))
        better = [p for p in self._completed([*self._profiles]) if p != self._profiles[p.variant] or p.variant in fresh]
        if better:
            self._kept(better)
        return Done(
            profiles=tuple(p for p in better if p.variant in fresh), refused=refused, left=tuple(left),
            errors=tuple(table(self._all_missed())), seconds=round(self._clock() - began, 1),
        )  # fmt: skip

    def _measure(self, item: Item, *, share_s: float, whole: bool) -> None:
        order = Order(
            variant=item.variant, model=item.model, pool=self._pool, lanes=lanes_of(item.variant, self._cores),
            sizes=measured_of(sizes_of(item.variant), share_s=share_s, whole=whole), budget_s=share_s,
        )  # fmt: skip
        found = self._profile_one(order)
        self._profiles[item.variant.name] = found.profile
        self._learn(known_of(item.variant, found.profile.points, operators=found.operators))

    def _learn(self, known: Known) -> None:
        self._known[known.variant] = known
        self._missed[known.variant] = left_out([known])

    def _completed(self, names: Sequence[str]) -> list[Profile]:
        sizes = {name: sizes_of(self._variants[name]) for name in names}
        points = predicted([self._known[name] for name in names], self._all_missed(), sizes)
        return [msgspec.structs.replace(self._profiles[name], points=points[name]) for name in names]

    def _all_missed(self) -> list[Missed]:
        return list(itertools.chain.from_iterable(self._missed.values()))
