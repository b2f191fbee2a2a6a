"""Which variants are profiled, within which time, and what becomes of a pass that was cut short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.profiling import Order, Profiled
from executors.profiling_campaign import Campaign, Done
from executors.profiling_plan import Plan, known_of, lanes_of, measured_of, plan, sizes_of, spread
from executors.profiling_process import NotProfiled
from registry.catalog import Catalog
from registry.latency import Point
from registry.records import Artifact, Pool, Profile, Release
from tests.executors.models import model, variant

HERE = "machine x2"


def catalog(*names: str, cap: int = 16, **changes: Any) -> Catalog:
    made = Catalog()
    made.add(Pool(name="cpu", cores=2))
    made.add(model(artifacts={"stub": Artifact(path="stub:0:0", sha256="a1")}))
    for name in names:
        made.add(variant(name=name, batch_max=cap, **changes))
    return made


def planned(of: Catalog, **changes: Any) -> Plan:
    fields = {"pool": "cpu", "hardware": "cpu", "cores": 2, "machine": HERE, "current": lambda _versions: True}
    return plan(of, **{**fields, **changes})


class World:
    """A machine on which every variant takes 1 ms + 1 ms an item, and profiling one takes `takes_s` of its clock."""

    def __init__(self, *, takes_s: float = 1.0, broken: Sequence[str] = (), machine: str = HERE) -> None:
        self.now_s = 100.0
        self.orders: list[Order] = []
        self.kept: list[list[Profile]] = []
        self._takes_s, self._broken, self._machine = takes_s, broken, machine

    def profile_one(self, order: Order) -> Profiled:
        self.orders.append(order)
        self.now_s += self._takes_s
        if order.variant.name in self._broken:
            raise NotProfiled(f"{order.variant.name}: broken")
        points = tuple(Point(batch=b, p50_us=1_000 * (1 + b), p99_us=2_000 * (1 + b)) for b in order.sizes)
        profile = Profile(
            variant=order.variant.name, pool=order.pool, machine=self._machine, points=points, lanes=order.lanes,
            artifact="a1", source="profiler", versions={"stub": "1"},
        )  # fmt: skip
        return Profiled(profile=profile, halves=((), ()))

    def run(self, of: Catalog, *, budget_s: float = 60, variant_s: float = 4, **changes: Any) -> Done:
        campaign = Campaign(
            planned(of, **changes), of.variants, pool="cpu", cores=2, profile_one=self.profile_one,
            kept=lambda profiles: self.kept.append(list(profiles)), clock=lambda: self.now_s,
        )  # fmt: skip
        return campaign.run(budget_s=budget_s, variant_s=variant_s)


def test_campaign_half_is_measured_and_the_rest_predicted_with_its_error() -> None:
    """1, 2, 16 run; 4 and 8 are predicted, marked, and not free of error."""
    done = World().run(catalog("a"))

    (profile,) = done.profiles
    assert [(p.batch, p.provenance) for p in profile.points] == [
        (1, "measured"), (2, "measured"), (4, "predicted"), (8, "predicted"), (16, "measured"),
    ]  # fmt: skip
    assert [p.p50_us for p in profile.points] == [2_000, 3_000, 5_000, 9_000, 17_000]
    assert all((p.error > 0) == (p.provenance == "predicted") for p in profile.points)
    assert done.errors


def test_campaign_each_profile_is_kept_at_once() -> None:
    """A pass that dies after the second variant has told two, completed, and the next one begins with the third."""
    of, world = catalog("a", "b", "c"), World()

    def dies(order: Order) -> Profiled:
        if order.variant.name == "c":
            raise KeyboardInterrupt
        return world.profile_one(order)

    campaign = Campaign(
        planned(of), of.variants, pool="cpu", cores=2, profile_one=dies, clock=lambda: world.now_s,
        kept=lambda profiles: world.kept.append(list(profiles)),
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        campaign.run(budget_s=60, variant_s=4)
    for profile in (p for kept in world.kept for p in kept):
        of.add(profile)

    assert [[p.variant for p in kept] for kept in world.kept] == [["a"], ["b"]]
    assert [item.variant.name for item in planned(of).due] == ["c"]


def test_campaign_budget_is_shared_and_what_has_no_time_is_left() -> None:
    """Five variants of 3 s each in 9 s: three are profiled with falling shares, two are left and named."""
    world = World(takes_s=3.0)

    done = world.run(catalog(*"abcde"), budget_s=9, variant_s=10)

    assert [order.budget_s for order in world.orders] == pytest.approx([9 / 5, 6 / 4, 3 / 3])
    assert (done.left, done.seconds) == (("d", "e"), 9.0)
    assert [p.variant for p in done.profiles] == ["a", "b", "c"]


def test_campaign_variant_that_does_not_run_is_named_and_the_others_go_on() -> None:
    """A refusal costs its time and nothing else."""
    done = World(broken="b").run(catalog("a", "b", "c"))

    assert done.refused == {"b": "b: broken"}
    assert [p.variant for p in done.profiles] == ["a", "c"]


def test_campaign_nothing_due_keeps_nothing() -> None:
    """A second pass measures and publishes nothing."""
    of, world = catalog("a", "b"), World()
    for profile in world.run(of).profiles:
        of.add(profile)
    world.kept.clear()

    done = world.run(of)

    assert (done.profiles, world.kept, len(world.orders)) == ((), [], 2)


def change(**fields: Any) -> Callable[[Profile], Profile]:
    return lambda profile: msgspec.structs.replace(profile, **fields)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(change(machine="other x2"), id="a machine of another kind"),
        pytest.param(change(artifact="b2"), id="another file"),
        pytest.param(change(lanes=1), id="another number of lanes"),
        pytest.param(change(source="executor"), id="an executor's quick look"),
    ],
)
def test_plan_profile_that_is_not_of_this_is_not_used(spoil: Callable[[Profile], Profile]) -> None:
    """It is measured anew, and teaches the predictor nothing."""
    of = catalog("a")
    (good,) = World().run(of).profiles
    of.add(good)

    held = planned(of)
    of.add(spoil(good))
    spoiled = planned(of)

    assert (held.due, held.held) == ((), (good,))
    assert ([item.variant.name for item in spoiled.due], spoiled.held) == (["a"], ())


def test_plan_other_libraries_hardware_width_and_names_are_told_apart() -> None:
    """Old libraries make a profile due; a GPU's variants, too wide ones and those not asked for are none of it."""
    of = catalog("a", "b")
    of.add(variant(name="gpu", hardware="gpu"))
    of.add(variant(name="wide", width=4))
    of.add(variant(name="orphan", model="absent"))
    for profile in World().run(of).profiles:
        of.add(profile)

    assert [i.variant.name for i in planned(of).due] == []
    assert [i.variant.name for i in planned(of, current=lambda _versions: False).due] == ["a", "b"]
    assert [i.variant.name for i in planned(of, again=True, globs=["b*"]).due] == ["b"]
    assert [i.variant.name for i in planned(of, cores=4).due] == ["a", "b", "wide"]


def test_plan_follows_the_versions_of_a_model() -> None:
    """A version that waits for its release is profiled with its own file; a retired one is not."""
    of = catalog()
    for version in ("1", "2"):
        of.add(model(version=version, artifacts={"stub": Artifact(path="stub:0:0", sha256=f"file-{version}")}))
        of.add(variant(name=f"v{version}", version=version))
    waiting = {i.variant.name: i.model.artifacts["stub"].sha256 for i in planned(of).due}

    of.add(Release(model="tiny", number=1, id="r1", stable="2", retired=("1",), action="promote"))

    assert waiting == {"v1": "file-1", "v2": "file-2"}
    assert [i.variant.name for i in planned(of).due] == ["v2"]


def test_known_of_tells_fast_and_slow_variants_apart_and_leaves_predictions_out() -> None:
    """The errors of what is over in less than a time slice say nothing of what takes longer."""
    guess = Point(batch=2, p50_us=9_000, p99_us=9_000, provenance="predicted", error=0.1)
    quick, slow = (Point(batch=1, p50_us=us, p99_us=us) for us in (3_999, 4_000))

    assert known_of(variant(), [quick, guess]).family == "stub, under 4 ms"
    assert known_of(variant(), [quick, guess]).points == (quick,)
    assert known_of(variant(), [slow]).family == "stub"


def test_sizes_and_lanes_follow_cap_and_width() -> None:
    """Powers of two and the cap; the ends are always measured; an executor's number of instances."""
    assert sizes_of(variant(batch_max=1)) == (1,)
    assert sizes_of(variant(batch_max=24)) == (1, 2, 4, 8, 16, 24)
    assert measured_of((1, 2, 4, 8, 16, 24), share_s=5) == (1, 2, 24)
    assert measured_of((1, 2, 4, 8, 16, 32, 64), share_s=5) == (1, 2, 8, 64)
    assert measured_of((1, 2, 4, 8), share_s=5) == (1, 2, 8)
    assert measured_of((1, 2), share_s=5) == (1, 2)
    assert measured_of((1,), share_s=0.5) == (1,)
    assert measured_of((1, 2, 4, 8, 16, 24), share_s=0.5) == (1, 24)
    assert measured_of((1, 2, 4, 8), share_s=0.5, whole=True) == (1, 2, 4, 8)
    assert [lanes_of(variant(width=w), 8) for w in (1, 2, 3, 8)] == [8, 4, 2, 1]


@given(cap=st.integers(1, 4096), count=st.integers(1, 14))
def test_spread_is_that_many_of_the_sizes_with_both_ends(cap: int, count: int) -> None:
    """Never more than asked for nor than there are, rising, and both ends from two on."""
    sizes = sizes_of(variant(batch_max=cap))

    got = spread(sizes, count)

    assert len(got) == min(count, len(sizes))
    assert list(got) == sorted(set(got))
    assert set(got) <= set(sizes)
    if count >= 2:
        assert {sizes[0], sizes[-1]} <= set(got)
