"""What the planner proposes, by hand: classes, bounds, failures, and plans that agree with their snapshot."""

from __future__ import annotations

import msgspec
import pytest

from agents.counts import class_of
from agents.plan_classes import wanted_of
from agents.planning import Options, lanes, machines, moved
from optimizer.transition import Hysteresis
from registry.catalog import Catalog
from registry.latency import Point
from registry.records import Accuracy, Model, Pool, Profile, Step, Task, Variant
from streams.plans import Demand, Host, PoolNow, Snapshot
from streams.query import Requirements

CLASS = "task=t slo=100 acc=0 cost=any prio=5"


def clock() -> float:
    """Stands still: the solver's own limits end it, not the time."""
    return 0.0


def catalog(*models: tuple[str, float, float]) -> Catalog:
    """Task `t` with models of (name, accuracy, milliseconds a query), one variant each, on pool `cpu`."""
    found = Catalog()
    found.add(Task(name="t"))
    found.add(Pool(name="cpu", cores=2, price_usd_hour=0.2))
    for name, accuracy, ms in models:
        found.add(
            Model(
                name=name, task="t", version="1", accuracy=Accuracy(value=accuracy, provenance="published", source="s"),
                input_name="x", input_shape=(4,), input_dtype="float32", output_name="y",
                preprocess=Step(name="tensor"), postprocess=Step(name="top-k", params={"k": 1}), labels=("a", "b"),
            )
        )  # fmt: skip
        found.add(Variant(name=f"{name}/v", model=name, framework="stub", batch_max=8))
        points = tuple(Point(batch=b, p50_us=round(ms * 1_000 * b), p99_us=round(ms * 1_000 * b)) for b in (1, 8))
        found.add(Profile(variant=f"{name}/v", pool="cpu", machine="m", points=points, memory_bytes=10_000_000))
    return found


def snapshot(
    rate: float,
    *hosts: Host,
    measured: float | None = None,
    far: float | None = None,
    pool: PoolNow | None = None,
    klass: str = CLASS,
) -> Snapshot:
    demand = Demand(
        klass=klass, near=rate, far=rate if far is None else far, measured=rate if measured is None else measured
    )
    return Snapshot(made_us=0, hosts=hosts, pools=() if pool is None else (pool,), demands=(demand,))


BOTH = catalog(("good", 0.9, 4.0), ("fast", 0.7, 1.0))
HOSTS = (Host(name="e1", pool="cpu", cores=2), Host(name="e2", pool="cpu", cores=2))
OPTIONS = Options(preset="most-accurate-within-budget", solve_s=5.0)


@pytest.mark.parametrize(
    "asked",
    [
        Requirements(kind="task", target="digits", slo_us=150_000, accuracy_min=0.95, cost_max=None, priority=5),  # type: ignore[arg-type]
        Requirements(kind="model", target="a b=c slo=1", slo_us=None, accuracy_min=0.0, cost_max=0.25, priority=9),  # type: ignore[arg-type]
        Requirements(kind="variant", target="x", slo_us=7, accuracy_min=1e-05, cost_max=1e-06, priority=1),  # type: ignore[arg-type]
    ],
)
def test_wanted_of_reads_what_class_of_writes(asked: Requirements) -> None:
    """Whatever the target is called; the SLO is the bucket's, and never longer."""
    wanted = wanted_of(class_of(asked), 3.0)

    assert wanted is not None
    assert (wanted.level, wanted.target, wanted.demand_qps) == (asked.kind, asked.target, 3.0)
    assert (wanted.accuracy_min, wanted.cost_max_usd) == (asked.accuracy_min, asked.cost_max)
    assert (wanted.slo_us is None) == (asked.slo_us is None)
    assert (wanted.slo_us or 0) <= max(1_000, asked.slo_us or 0)


def test_wanted_of_offline_and_unknown_classes_are_not_planned_for() -> None:
    """Nothing is loaded for them."""
    assert wanted_of("task=t slo=any acc=0 cost=any prio=0", 1.0) is None
    assert wanted_of("other", 1.0) is None
    assert wanted_of("task=t slo=1.2.3 acc=0 cost=any prio=5", 1.0) is None


def test_lanes_low_load_is_served_by_the_most_accurate() -> None:
    """And by no more lanes than it needs."""
    made = lanes(snapshot(50.0, *HOSTS), BOTH, OPTIONS, clock=clock)

    assert {v for held in made.hosts.values() for v in held} == {"good/v"}
    assert made.classes[0].unserved_qps == 0
    assert made.accuracy == pytest.approx(0.9)


def test_lanes_high_load_takes_what_is_fast_before_it_leaves_any() -> None:
    """Four cores of `good` carry 750 a second, of `fast` 3,000."""
    made = lanes(snapshot(1_500.0, *HOSTS), BOTH, OPTIONS, clock=clock)

    assert made.classes[0].unserved_qps == 0
    assert sum(sum(held.values()) for held in made.hosts.values()) <= 4
    assert 0.7 <= made.accuracy < 0.9


def test_lanes_count_on_what_lanes_were_seen_to_deliver() -> None:
    """Asked are 770 a second: four lanes of `good` carry 900 at 0.9; where they were slower, `fast` joins."""
    asked = snapshot(700.0, *HOSTS)
    better = lanes(msgspec.structs.replace(asked, eta={"good/v@cpu": 0.9}), BOTH, OPTIONS, clock=clock)
    worse = lanes(msgspec.structs.replace(asked, eta={"good/v@cpu": 0.4}), BOTH, OPTIONS, clock=clock)

    assert better.accuracy == pytest.approx(0.9)
    assert worse.accuracy < better.accuracy
    assert worse.classes[0].unserved_qps == 0


def test_lanes_beyond_all_capacity_says_what_binds() -> None:
    """The rest is unserved, in the plan's own words."""
    made = lanes(snapshot(50_000.0, *HOSTS), BOTH, OPTIONS, clock=clock)

    assert made.classes[0].unserved_qps > 40_000
    assert made.classes[0].binding == "room"


def test_lanes_what_no_executor_could_load_is_not_planned() -> None:
    """What only one of them could not load still is."""
    one = (msgspec.structs.replace(HOSTS[0], failed=("good/v",)), HOSTS[1])
    all_ = tuple(msgspec.structs.replace(host, failed=("good/v",)) for host in HOSTS)

    assert lanes(snapshot(50.0, *one), BOTH, OPTIONS, clock=clock).accuracy == pytest.approx(0.9)
    assert lanes(snapshot(50.0, *all_), BOTH, OPTIONS, clock=clock).accuracy == pytest.approx(0.7)


def test_lanes_what_failed_on_one_executor_goes_on_the_others() -> None:
    """And never on that one, whether there is room elsewhere or not."""
    hosts = (msgspec.structs.replace(HOSTS[0], failed=("good/v",)), HOSTS[1])

    for rate in (50.0, 600.0, 5_000.0):
        made = lanes(snapshot(rate, *hosts), BOTH, OPTIONS, clock=clock)

        assert "good/v" not in made.hosts["e1"]
        assert made.hosts["e1"] or "good/v" in made.hosts["e2"]


def test_lanes_fit_the_memory_of_the_smallest_executor() -> None:
    """A lane takes 10 MiB: one fits in 20 MB; an executor that did not say bounds nothing."""
    small = tuple(msgspec.structs.replace(host, memory_mb=mb) for host, mb in zip(HOSTS, (20, 900), strict=True))
    unsaid = (HOSTS[0], msgspec.structs.replace(HOSTS[1], memory_mb=900))

    for hosts, most in ((small, 1), (unsaid, 2)):
        made = lanes(snapshot(5_000.0, *hosts), BOTH, OPTIONS, clock=clock)

        assert sorted(sum(held.values()) for held in made.hosts.values()) == [most, most]


def test_lanes_without_a_query_keep_a_task_warm() -> None:
    """One lane; none if that is not wanted."""
    empty = Snapshot(made_us=0, hosts=HOSTS, pools=(), demands=())
    warm = lanes(empty, BOTH, OPTIONS, clock=clock)
    cold = lanes(empty, BOTH, msgspec.structs.replace(OPTIONS, warm=False), clock=clock)

    assert sum(sum(held.values()) for held in warm.hosts.values()) == 1
    assert sum(sum(held.values()) for held in cold.hosts.values()) == 0


@pytest.mark.parametrize("target", ["task=t", "model=good", "variant=fast/v"])
def test_lanes_keep_warm_what_they_are_told(target: str) -> None:
    """One lane of the target, and word of it while nothing of it is held."""
    empty = Snapshot(made_us=0, hosts=HOSTS, pools=(), demands=(), warm=(target, "task=unknown"))
    made = lanes(empty, BOTH, OPTIONS, clock=clock)
    held = tuple(msgspec.structs.replace(host, held=made.hosts[host.name]) for host in HOSTS)
    again = lanes(msgspec.structs.replace(empty, hosts=held), BOTH, OPTIONS, clock=clock)
    variants = [variant for lanes_ in made.hosts.values() for variant in lanes_]

    assert len(variants) == 1
    assert target == "task=t" or variants == [{"model=good": "good/v"}.get(target, "fast/v")]
    assert made.warming
    assert not again.warming
    assert moved(made.hosts, again.hosts) == []


def test_lanes_let_go_what_nobody_asks_for_or_keeps_warm() -> None:
    """Held, asked for by none: planned nowhere, and said; kept warm or asked for, it is not needless."""
    host = msgspec.structs.replace(HOSTS[0], held={"good/v": 1})
    cold = Snapshot(made_us=0, hosts=(host,), pools=(), demands=(), warm=())
    made = lanes(cold, BOTH, OPTIONS, clock=clock)
    kept = lanes(msgspec.structs.replace(cold, warm=("model=good",)), BOTH, OPTIONS, clock=clock)
    asked = lanes(msgspec.structs.replace(snapshot(5.0, host), warm=()), BOTH, OPTIONS, clock=clock)

    assert (made.hosts, made.needless) == ({"e1": {}}, ("good/v",))
    assert (kept.hosts, kept.needless) == ({"e1": {"good/v": 1}}, ())
    assert asked.needless == ()


def test_machines_none_while_nothing_is_asked_and_some_for_the_first_query() -> None:
    """A pool of no machine is planned with the size that its provisioner starts them with."""
    pool = PoolNow(pool="cpu", least=0, most=8, alive=1, cores=2)
    cheap = msgspec.structs.replace(OPTIONS, preset="cheapest", hysteresis=Hysteresis(hold=1))
    cold = Snapshot(made_us=0, hosts=HOSTS[:1], pools=(pool,), demands=(), warm=())
    gone = msgspec.structs.replace(pool, alive=0)
    wide = msgspec.structs.replace(gone, cores=8)

    assert machines(cold, BOTH, cheap, {}, clock=clock).machines == {"cpu": 0}
    assert machines(msgspec.structs.replace(cold, warm=None), BOTH, cheap, {}, clock=clock).machines == {"cpu": 1}
    assert machines(snapshot(1.0, pool=gone), BOTH, cheap, {}, clock=clock).machines == {"cpu": 1}
    assert machines(snapshot(5_000.0, pool=gone), BOTH, cheap, {}, clock=clock).machines == {"cpu": 4}
    assert machines(snapshot(5_000.0, pool=wide), BOTH, cheap, {}, clock=clock).machines == {"cpu": 1}


def test_lanes_as_they_are_are_left_so() -> None:
    """The same load, planned again from its own result, moves nothing."""
    first = lanes(snapshot(600.0, *HOSTS), BOTH, OPTIONS, clock=clock)
    held = tuple(msgspec.structs.replace(host, held=first.hosts[host.name]) for host in HOSTS)
    again = lanes(snapshot(600.0, *held), BOTH, OPTIONS, clock=clock)

    assert moved(first.hosts, again.hosts) == []


def test_machines_follow_the_far_forecast_out_and_the_load_in() -> None:
    """Out at once; in only after two plans, and never below what the measured load needs."""
    pool = PoolNow(pool="cpu", least=1, most=8, alive=2)
    cheap = msgspec.structs.replace(OPTIONS, preset="cheapest")
    out = machines(snapshot(100.0, *HOSTS, far=6_000.0, pool=pool), BOTH, cheap, {}, clock=clock)
    first = machines(snapshot(100.0, *HOSTS, pool=pool), BOTH, cheap, {}, clock=clock)
    second = machines(snapshot(100.0, *HOSTS, pool=pool), BOTH, cheap, first.states, clock=clock)
    busy = machines(snapshot(100.0, *HOSTS, measured=2_000.0, pool=pool), BOTH, cheap, first.states, clock=clock)

    assert out.machines["cpu"] > 2
    assert (first.machines["cpu"], first.why["cpu"]) == (2, "hold")
    assert second.machines["cpu"] == 1
    assert busy.machines["cpu"] == 2


def test_lanes_without_any_executor_serve_nothing_and_machines_start_one() -> None:
    """At the very start there is nothing, not even a pool; then a pool that is empty."""
    nothing = snapshot(5.0)
    empty = snapshot(5.0, pool=PoolNow(pool="cpu", least=0, most=3, alive=0))

    assert lanes(nothing, BOTH, OPTIONS, clock=clock).classes[0].unserved_qps > 0
    assert lanes(nothing, Catalog(), OPTIONS, clock=clock).hosts == {}
    assert machines(nothing, BOTH, OPTIONS, {}, clock=clock).machines == {}
    assert lanes(empty, BOTH, OPTIONS, clock=clock).classes[0].unserved_qps > 0
    assert machines(empty, BOTH, OPTIONS, {}, clock=clock).machines == {"cpu": 1}
