"""A canary's share of the queries: drawn by id, kept on redelivery, and never at the cost of an answer."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from agents.fleet import Fleet
from agents.lots import Canary, drawn
from agents.selection import Chosen, Parked, Refused, Selector
from registry.catalog import Catalog
from registry.records import Accuracy, Release
from streams.contract import TargetKind
from streams.query import Query
from tests.agents.builders import MENU, MS, ROUTER, T0, add_variant, catalog, query, requirements, selector, telemetry


def versions(*, share: float = 0.2, new_ms: float = 5, new_accuracy: float = 0.93) -> Catalog:
    """Model `m-old` in two versions, `old` stable and `new` its canary, beside the model of `poor`."""
    made = catalog(MENU[2])
    add_variant(made, "old", accuracy=0.95, fixed_ms=5, item_ms=1)
    add_variant(made, "new", accuracy=0.9, fixed_ms=new_ms, item_ms=1)
    accuracy = Accuracy(value=new_accuracy, provenance="measured")
    made.add(msgspec.structs.replace(made.models["m-old"], version="2", accuracy=accuracy))
    made.add(msgspec.structs.replace(made.variants["old"], version="1"))
    made.add(msgspec.structs.replace(made.variants["new"], model="m-old", version="2"))
    state = Release(model="m-old", number=1, id="a", stable="1", canary="2" if share else "", share=share)
    made.add(state)
    return made


def routed(made: Catalog, *resident: str) -> tuple[Selector, Fleet]:
    fleet = Fleet(router=ROUTER)
    pick = selector(made, fleet)
    fleet.heard(telemetry("e1", *resident), now_us=T0)
    return pick, fleet


def ask(number: int, target: str = "t", kind: TargetKind = TargetKind.TASK, **more: float) -> Query:
    asked = query(requirements(target, kind=kind, **more))  # type: ignore[arg-type]
    asked.query_id = f"headrace.queries-0-{number}"
    return asked


def served(got: Chosen | Refused | Parked) -> str:
    return got.offer.variant if isinstance(got, Chosen) else type(got).__name__


@pytest.mark.parametrize(("target", "kind"), [("t", TargetKind.TASK), ("m-old", TargetKind.MODEL)])
def test_select_canary_answers_its_share_of_task_and_model(target: str, kind: TargetKind) -> None:
    """A fifth of the queries that the stable version would answer, though another model is measured better."""
    pick, _ = routed(versions(new_accuracy=0.8), "old", "new", "poor")

    got = Counter(served(pick.select(ask(n, target, kind), now_us=T0)) for n in range(1_000))

    assert set(got) == {"old", "new"}
    assert 160 < got["new"] < 240


def test_select_same_id_draws_the_same_lot() -> None:
    """In any router, at any time, and a larger share keeps those that had drawn the smaller."""
    few, more = Canary("m", "2", 0.1), Canary("m", "2", 0.3)
    ids = [f"q-{n}" for n in range(2_000)]
    first = {i for i in ids if drawn(i, [few])}

    assert first == {i for i in ids if drawn(i, [few])}
    assert first < {i for i in ids if drawn(i, [more])}
    assert 150 < len(first) < 250


def test_drawn_two_canaries_draw_independently() -> None:
    """Of 4,000 ids a quarter draws both halves, or the comparison of one would be one of the other."""
    pair = [Canary("a", "2", 0.5), Canary("b", "2", 0.5)]
    both = sum(len(drawn(f"q-{n}", pair)) == 2 for n in range(4_000))

    assert 850 < both < 1_150


def test_select_variant_asked_by_name_is_no_lot() -> None:
    """Whoever names a variant gets it, stable or on trial."""
    pick, _ = routed(versions(), "old", "new")

    for name in ("old", "new"):
        got = {served(pick.select(ask(n, name, TargetKind.VARIANT), now_us=T0)) for n in range(50)}
        assert got == {name}


def test_select_canary_without_a_lane_leaves_all_to_the_stable_version() -> None:
    """Until it is loaded nobody waits for it, and no worse model takes its place."""
    pick, _ = routed(versions(share=0.5), "old", "poor")

    assert {served(pick.select(ask(n), now_us=T0)) for n in range(50)} == {"old"}


def test_select_canary_too_slow_falls_back_to_the_stable_version() -> None:
    """A deadline that the stable version keeps is kept."""
    pick, _ = routed(versions(share=0.5, new_ms=60), "old", "new")

    got = Counter(served(pick.select(ask(n, slo_ms=30), now_us=T0)) for n in range(4))
    assert got == {"old": 4}


def test_select_floor_above_the_canary_is_answered_by_the_stable_version() -> None:
    """A requirement is not given up for a trial."""
    pick, _ = routed(versions(share=0.5), "old", "new")

    got = {served(pick.select(ask(n, accuracy_min=0.94), now_us=T0)) for n in range(50)}
    assert got == {"old"}


def test_select_follows_the_release_without_restart() -> None:
    """Promoted: all to the new one; and the old one is refused by name, in words."""
    made = versions(share=0.0)
    pick, _ = routed(made, "old", "new")
    assert {served(pick.select(ask(n), now_us=T0)) for n in range(20)} == {"old"}

    made.add(Release(model="m-old", number=2, id="b", stable="2", retired=("1",)))
    pick.refresh(now_us=T0)
    _fleet = pick._fleet
    _fleet.heard(telemetry("e1", "old", "new"), now_us=T0 + 2_000 * MS)

    assert {served(pick.select(ask(n), now_us=T0 + 2_000 * MS)) for n in range(5)} == {"new"}
    got = pick.select(ask(1, "old", TargetKind.VARIANT), now_us=T0 + 2_000 * MS)
    assert isinstance(got, Refused)
    assert got.error.code == "unknown_target"
    assert got.error.message == "variant 'old' is of m-old 1, which is retired: not in service"


def test_select_model_without_a_version_in_service_is_refused() -> None:
    """After the stable version was retired by force."""
    made = versions(share=0.0)
    made.add(Release(model="m-old", number=2, id="b", retired=("1", "2")))
    pick, _ = routed(made, "old", "new")

    got = pick.select(ask(1, "m-old", TargetKind.MODEL), now_us=T0)

    assert isinstance(got, Refused)
    assert got.error.message == "model 'm-old' has no version in service"
