"""Selection against an exhaustive search over every pair of offer and executor, on random fleets."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.fleet import Fleet
from agents.selection import Chosen, Parked, Refused
from streams.contract import OnMiss
from streams.query import Query
from streams.records import LaneReport, Telemetry
from tests.agents.builders import MS, ROUTER, T0, add_pool, add_variant, catalog, query, requirements, selector

RESERVE_MS = 3
SLACK_MS = 5


class Kind(NamedTuple):
    """One variant on one pool. Units: ms."""

    name: str
    accuracy: float
    fixed: int
    item: int
    pool: str

    def run(self, batch: int) -> int:
        return self.fixed + self.item * batch


class Machine(NamedTuple):
    """An executor at the moment of choice: `queued` by variant; busy whenever anything waits. Units: ms."""

    name: str
    pool: str
    busy: int
    queued: dict[str, int]

    def finish(self, kind: Kind, kinds: dict[str, Kind]) -> int:
        """What runs, then whatever waits for other variants, then the batch that the query would join."""
        others = sum(kinds[name].run(n) for name, n in self.queued.items() if name != kind.name and n)
        return self.busy + others + kind.run(self.queued[kind.name] + 1)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Kind], list[Machine]]:
    kinds = [
        Kind(
            f"v{i}", draw(st.sampled_from([0.8, 0.9, 0.95])), draw(st.integers(1, 40)), draw(st.integers(1, 10)),
            draw(st.sampled_from(["cpu", "gpu"])),
        )
        for i in range(draw(st.integers(1, 5)))
    ]  # fmt: skip
    machines = []
    for i in range(draw(st.integers(0, 5))):
        pool = draw(st.sampled_from(["cpu", "gpu"]))
        resident = [kind.name for kind in kinds if kind.pool == pool and draw(st.booleans())]
        busy = draw(st.integers(0, 60))
        queued = {name: draw(st.integers(0, 6)) if busy else 0 for name in resident}
        machines.append(Machine(f"e{i}", pool, busy, queued))
    return kinds, machines


asks = st.builds(
    requirements,
    slo_ms=st.one_of(st.none(), st.integers(5, 200).map(float)),
    accuracy_min=st.sampled_from([0.0, 0.85, 0.9, 0.95, 0.99]),
    on_miss=st.sampled_from(list(OnMiss)),
)


def expected(asked: Query, kinds: list[Kind], machines: list[Machine]) -> str:
    """The variant that must answer, or the code, or `parked`; by looking at everything."""
    need, by_name = asked.requirements, {kind.name: kind for kind in kinds}
    slo = None if need.slo_us is None else need.slo_us // MS
    due = 10**9 if slo is None else slo - RESERVE_MS
    pace = {pool: min(kind.run(1) for kind in kinds if kind.pool == pool) for pool in {kind.pool for kind in kinds}}
    menu = sorted(kinds, key=lambda kind: (-kind.accuracy, -pace[kind.pool], kind.run(1), kind.name))
    meeting = [kind for kind in menu if kind.accuracy >= need.accuracy_min]
    below = [kind for kind in menu if kind.accuracy < need.accuracy_min and need.on_miss is OnMiss.DEGRADE]
    if not meeting and not below:
        return "accuracy_unreachable"

    def finishes(kind: Kind) -> list[int]:
        return [m.finish(kind, by_name) for m in machines if m.pool == kind.pool and kind.name in m.queued]

    live = {kind: min(finishes(kind)) for kind in meeting + below if finishes(kind)}
    for kind in meeting + below:
        if kind in live and live[kind] <= due:
            return kind.name
    if not live:
        return "parked"
    if need.on_miss is OnMiss.LATE:
        return next(kind.name for kind in meeting if kind in live)
    if min(kind.run(1) for kind in live) > due:
        return "deadline_unreachable"
    possible = [kind for kind in live if kind.run(1) <= due]
    return "sent" if min(live[kind] for kind in possible) <= due + SLACK_MS else "overloaded"


@settings(max_examples=400)
@given(worlds(), asks)
def test_select_equals_exhaustive_search(world: tuple[list[Kind], list[Machine]], asked: object) -> None:
    """The first offer in order that some executor finishes in time; else what `on-miss` and the reasons say."""
    kinds, machines = world
    made = catalog()
    add_pool(made, "gpu", hardware="gpu")
    for kind in kinds:
        add_variant(made, kind.name, accuracy=kind.accuracy, fixed_ms=kind.fixed, item_ms=kind.item, pool=kind.pool)
    fleet = Fleet(router=ROUTER)
    pick = selector(made, fleet)
    for slot, machine in enumerate(machines):
        lanes = tuple(LaneReport(variant=name, queued=n) for name, n in machine.queued.items())
        record = Telemetry(
            executor=machine.name, pool=machine.pool, slots=(slot,), busy_us=machine.busy * MS, lanes=lanes
        )
        fleet.heard(record, now_us=T0)
    want = query(asked)  # type: ignore[arg-type]

    got = pick.select(want, now_us=T0)

    answer = expected(want, kinds, machines)
    match got:
        case Chosen():
            machine = next(m for m in machines if m.name == got.executor)
            kind = next(k for k in kinds if k.name == got.offer.variant)
            finish = machine.finish(kind, {k.name: k for k in kinds})
            assert got.predicted_finish_us == T0 + (finish + RESERVE_MS) * MS
            assert answer == ("sent" if got.why == "least" else kind.name)
        case Refused(error=error):
            assert error.code == answer
        case Parked():
            assert answer == "parked"
