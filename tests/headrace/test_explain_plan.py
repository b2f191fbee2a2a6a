"""`headrace explain plan`, without a broker: what a plan says of itself, and why it is not another."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from agents.planning import Options, lanes
from headrace.explaining.plan import PlanExplained, binding_words, explained, hidden
from headrace.explaining.show_plan import rendered
from registry.catalog import Catalog
from streams.errors import BadRecord
from streams.plans import ClassPlan, Demand, Host, PlanRecord, PoolNow, Snapshot
from tests.agents.test_planning import BOTH, CLASS, HOSTS, OPTIONS, catalog, clock, snapshot

POOL = PoolNow(pool="cpu", least=1, most=6, alive=2, cores=2)
FLOOR = "task=t slo=100 acc=0.8 cost=any prio=5"
TIGHT = "task=t slo=3.2 acc=0 cost=any prio=5"
CHEAP = "task=t slo=100 acc=0 cost=0.00005 prio=5"


def record(made_from: Snapshot, known: Catalog = BOTH, *, options: Options = OPTIONS, status: str = "") -> PlanRecord:
    """The plan that comes out of a snapshot, as a planner publishes it."""
    made = lanes(made_from, known, options, clock=clock)
    return PlanRecord(
        epoch=7, planner="p", made_us=made_from.made_us, trigger="load", snapshot=made_from,
        options=msgspec.to_builtins(options), hosts=made.hosts, classes=made.classes, status=status or made.status,
        method=made.method, objective=made.objective, accuracy=made.accuracy, usd_hour=made.usd_hour,
    )  # fmt: skip


def told(made: PlanRecord, known: Catalog = BOTH) -> PlanExplained:
    return explained(made, known, clock=clock)


def why(found: PlanExplained, variant: str, at: int = 0) -> tuple[str, str]:
    """Reason and words of one variant that does not serve a class."""
    return next((each.reason, each.why) for each in found.classes[at].not_taken if each.variant == variant)


def text(found: PlanExplained, *, planner: bool = True) -> str:
    sink = io.StringIO()
    Console(file=sink, width=200).print(rendered(found, now_us=10_000_000, planner=planner))
    return sink.getvalue()


def test_explained_low_load_says_that_the_other_is_less_accurate() -> None:
    """All goes to the best, nothing binds, and the other one needs no excuse but its accuracy."""
    found = told(record(snapshot(10.0, *HOSTS)))

    assert found.classes[0].binding == "none"
    assert why(found, "fast/v") == ("less accurate", "less accurate than all that serves (0.9), which suffices")
    assert found.replay == ()


def test_explained_floor_says_accuracy_before_anything_else() -> None:
    """The first constraint that excludes a variant is its accuracy, whatever else would."""
    found = told(record(snapshot(10.0, *HOSTS, klass=FLOOR)))

    assert why(found, "fast/v") == ("accuracy", "accuracy 0.7 is below the floor of 0.8")


def test_explained_cost_ceiling_names_both_prices() -> None:
    """4 ms of one of two cores at $0.2 an hour, a thousand times: $0.000111."""
    found = told(record(snapshot(10.0, *HOSTS, klass=CHEAP)))

    assert why(found, "good/v") == ("cost", "$0.000111 for 1,000 queries is above the ceiling of $5e-05")


def test_explained_slo_names_the_nearest_batch_and_by_how_much() -> None:
    """One query takes 4 ms and its reply 5 ms, the SLO is 3.2 ms."""
    found = told(record(snapshot(10.0, *HOSTS, klass=TIGHT)))

    assert why(found, "good/v") == (
        "slo",
        "even in batches of 1 it needs 9.0 ms (p99 4.0 ms + reply 5.0 ms), 5.8 ms more than the SLO of 3.2 ms",
    )
    assert found.classes[0].binding == "no-lane"


def test_explained_full_machines_say_how_many_lanes_it_would_take() -> None:
    """Four cores carry 4 x 187/s of `good`, and 1,100/s are asked for."""
    found = told(record(snapshot(1_000.0, *HOSTS)))
    served = {variant for variant, _, _ in found.classes[0].flows}

    assert served == {"fast/v", "good/v"}
    assert found.classes[0].binding == "room"
    assert "unserved" not in found.classes[0].words


def test_explained_variant_that_all_of_it_has_no_room_for_is_counted_in_lanes() -> None:
    """All four lanes are of the fast one; the good one would need more than fit."""
    found = told(record(snapshot(2_600.0, *HOSTS)))

    assert {variant for variant, _, _ in found.classes[0].flows} == {"fast/v"}
    reason, words = why(found, "good/v")
    assert reason == "no room"
    assert words == (
        "a lane carries 188/s in batches of 1; all of it takes 14, and only 4 fit on the pool's 2 machines"
    )  # fmt: skip


def test_explained_failed_everywhere_and_nobody_there() -> None:
    """What no executor could load, and what has no executor, are told apart."""
    failed = tuple(msgspec.structs.replace(host, failed=("good/v",)) for host in HOSTS)

    assert why(told(record(snapshot(10.0, *failed))), "good/v") == (
        "failed", "none of the 2 executors of cpu could load it",
    )  # fmt: skip
    assert why(told(record(snapshot(10.0, pool=POOL))), "good/v") == (
        "no machine", "no executor of pool cpu was there; up to 6 may be started",
    )  # fmt: skip


def test_explained_too_little_memory_is_said() -> None:
    """10 MB do not fit into 5."""
    small = (Host(name="e1", pool="cpu", cores=2, memory_mb=5),)

    assert why(told(record(snapshot(10.0, *small))), "good/v")[0] == "too large"


def test_explained_next_best_is_what_comes_out_without_the_chosen() -> None:
    """Without `good` all is served by `fast`: twenty points less accurate, nothing more unserved."""
    found = told(record(snapshot(10.0, *HOSTS)))

    (best,) = found.alternatives
    assert best.without == "good/v"
    assert best.accuracy_pp == pytest.approx(-20.0, abs=0.01)
    assert best.unserved_qps == pytest.approx(0.0, abs=1e-6)
    assert best.usd_hour is None  # nobody starts machines
    assert set(best.lanes) == {"fast/v"}


def test_explained_next_best_costs_machines_where_they_can_be_had() -> None:
    """For 1,000/s `quick` is enough on one machine of two cores; without it `slow` needs three, and two are there."""
    known = catalog(("quick", 0.9, 1.0), ("slow", 0.7, 4.0))
    found = told(record(snapshot(1_000.0, *HOSTS, pool=POOL), known), known)

    best = found.alternatives[0]
    assert best.without == "quick/v"
    assert best.unserved_qps == pytest.approx(250.0, abs=1.0)
    assert best.usd_hour == pytest.approx(0.4, abs=1e-6)


def test_explained_registry_that_changed_says_what_comes_out_now() -> None:
    """A variant that is gone since is named, with how many lanes it had."""
    made = record(snapshot(10.0, *HOSTS))

    found = told(made, hidden(BOTH, "good/v"))

    assert found.replay
    assert all("good/v" in line or "fast/v" in line for line in found.replay)


def test_explained_kept_plan_is_compared_by_its_shares() -> None:
    """It says what the lanes that were held do, not what was proposed instead."""
    held = (Host(name="e1", pool="cpu", cores=2, held={"fast/v": 2}), HOSTS[1])
    made_from = snapshot(10.0, *held)
    standing = lanes(made_from, BOTH, OPTIONS, clock=clock).standing
    assert standing is not None
    kept = msgspec.structs.replace(
        record(made_from, status="kept"), classes=standing.classes, hosts={host.name: host.held for host in held}
    )  # fmt: skip

    found = told(kept)

    assert found.replay == ()
    assert found.alternatives[0].without == "fast/v"
    assert found.alternatives[0].accuracy_pp == pytest.approx(20.0, abs=0.01)  # and yet it was not worth a change


def test_explained_options_of_another_version_are_refused_in_words() -> None:
    """Not by a traceback."""
    foreign = msgspec.structs.replace(record(snapshot(10.0, *HOSTS)), options={"preset": "dearest"})

    with pytest.raises(BadRecord, match="options of plan 7"):
        told(foreign)


def test_hidden_variant_leaves_the_catalogue_as_it_is() -> None:
    """Somebody else may be reading it."""
    other = hidden(BOTH, "good/v")

    assert {offer.variant for offer in other.offers()} == {"fast/v"}
    assert {offer.variant for offer in BOTH.offers()} == {"fast/v", "good/v"}


@pytest.mark.parametrize("binding", ["none", "no-lane", "machines", "budget", "room", "price"])
def test_binding_words_say_each(binding: str) -> None:
    """No name of the optimizer's stands alone."""
    words = binding_words(ClassPlan(klass=CLASS, demand_qps=1.0, unserved_qps=0.5, binding=binding))

    assert len(words.split()) > 4


def test_rendered_plan_has_demand_lanes_machines_and_why_not() -> None:
    """In the order in which one asks."""
    made = msgspec.structs.replace(
        record(snapshot(2_600.0, *HOSTS, pool=POOL)), machines={"cpu": 2}, planned={"cpu": 4}, held_back={"cpu": "step"}
    )  # fmt: skip

    shown = text(told(made))

    order = (
        "plan 7, made",
        "why then: load",
        "replay:",
        "demand, queries",
        "executor  pool",
        "held back by",
        "next best",
        "why not",
    )
    at = [shown.index(part) for part in order]
    assert at == sorted(at)
    assert "step" in shown


def test_rendered_without_planner_or_demand_says_so() -> None:
    """Nothing to explain is explained too."""
    shown = text(told(record(Snapshot(made_us=0, hosts=(), pools=(), demands=()))), planner=False)

    assert "no planner is heard now" in shown
    assert "nobody asked for anything" in shown
    assert "no executor is there" in shown


def test_explained_offline_class_is_named_as_not_planned_for() -> None:
    """Priority 0 loads nothing, and is not forgotten in silence."""
    offline = "task=t slo=any acc=0 cost=any prio=0"
    demands = (Demand(klass=offline, near=5.0, far=5.0, measured=5.0),)

    found = told(record(Snapshot(made_us=0, hosts=HOSTS, pools=(), demands=demands)))

    assert found.offline == (offline,)
    assert offline in text(found)


def test_two_models_of_equal_accuracy_are_told_apart_by_what_a_lane_carries() -> None:
    """The slower of two that are as good is not called less accurate."""
    twins = catalog(("quick", 0.9, 1.0), ("slow", 0.9, 4.0))
    found = told(record(snapshot(1_000.0, *HOSTS), twins), twins)

    assert why(found, "slow/v")[0] in ("not better", "no room")
