"""Selection at INFaaS's scale, and the deep look into a large ring."""

from __future__ import annotations

from agents.fleet import Fleet
from agents.selection import Chosen
from benchmarks import selection
from tests.agents.builders import MENU, ROUTER, T0, catalog, query, requirements, selector, telemetry


def test_bench_selection_small_run_equals_exhaustive_search() -> None:
    """270 variants on 20 executors: nearly every decision is the exhaustive search's, and most are dispatches."""
    figures = selection.run(20, decisions=3_000)

    assert figures["checked"] >= 150
    assert figures["optimal_share"] >= 0.98
    assert figures["chosen_share"] > 0.7


def test_select_one_free_lane_behind_thirty_busy_ones_is_found() -> None:
    """Before a group is given up, more than the eight lanes of a block are looked at."""
    made = catalog(MENU[0])
    fleet = Fleet(router=ROUTER)
    pick = selector(made, fleet)
    for n in range(40):
        busy_ms = 0 if n == 30 else 500
        fleet.heard(telemetry(f"e{n:02d}", "good", busy_ms=busy_ms, slots=(n,)), now_us=T0)

    got = pick.select(query(requirements(slo_ms=50)), now_us=T0)

    assert isinstance(got, Chosen)
    assert got.executor == "e30"
