"""Plans whose lanes all stand on an executor: what has no place serves nobody, and its room goes to what fits."""

from __future__ import annotations

import numpy as np
import pytest

from agents.plan_placing import ROUNDS_MAX, Placed, limited, placed_plan
from optimizer.evaluate import mismatches
from optimizer.problem import LaneKind, Pool, Problem, QueryClass, Weights, check
from streams.plans import Host


def clock() -> float:
    return 0.0


def problem(*kinds: tuple[float, float, int], cores: int, machines: int, demand_qps: float) -> Problem:
    """One class that every kind (accuracy, capacity, cores) may serve; money is out of it."""
    return Problem(
        pools=(Pool(name="p", usd_hour=1.0, resources=(cores,), machines_min=machines, machines_max=machines),),
        kinds=tuple(
            LaneKind(name=f"v{j}@p/b1", variant=f"v{j}", pool=0, accuracy=a, capacity_qps=q, resources=(w,), load_us=1)
            for j, (a, q, w) in enumerate(kinds)
        ),
        classes=(QueryClass(name="c", demand_qps=demand_qps, kinds=tuple(range(len(kinds)))),),
        weights=Weights(beta=0.0, gamma=0.01),
    )  # fmt: skip


def hosts(count: int, cores: int, **failed: tuple[str, ...]) -> list[Host]:
    names = [f"e{n}" for n in range(count)]
    return [Host(name=name, pool="p", cores=cores, failed=failed.get(name, ())) for name in names]


def sound(placed: Placed, asked: Problem, where: list[list[Host]]) -> None:
    """Flows run over lanes that stand somewhere, within every bound, and no executor holds what it cannot."""
    assert [words for words in mismatches(placed.plan, asked) if "is warm" not in words] == []
    for h, mine in enumerate(where):
        stand: dict[str, int] = {}
        for host in mine:
            for variant, lanes in placed.hosts[host.name].items():
                assert variant not in host.failed
                stand[variant] = stand.get(variant, 0) + lanes
        planned: dict[str, int] = {}
        for lanes, kind in zip(placed.plan.lanes, asked.kinds, strict=True):
            if kind.pool == h and lanes:
                planned[kind.variant] = planned.get(kind.variant, 0) + lanes
        assert planned == stand
    assert 1 <= placed.rounds <= ROUNDS_MAX


def test_placed_plan_what_packs_is_solved_once() -> None:
    """And keeps its proof."""
    asked = problem((0.9, 10.0, 1), cores=4, machines=2, demand_qps=30.0)
    placed = placed_plan(asked, [hosts(2, 4)], budget_s=5.0, clock=clock)

    sound(placed, asked, [hosts(2, 4)])
    assert (placed.rounds, placed.homeless, placed.plan.status) == (1, {}, "optimal")


def test_placed_plan_room_that_wide_lanes_cannot_use_goes_to_narrow_ones() -> None:
    """Six cores are three lanes of two in sum, and two in pieces: the two cores left run what is narrow."""
    asked = problem((0.9, 20.0, 2), (0.7, 5.0, 1), cores=3, machines=2, demand_qps=50.0)
    placed = placed_plan(asked, [hosts(2, 3)], budget_s=5.0, clock=clock)

    sound(placed, asked, [hosts(2, 3)])
    assert placed.rounds > 1
    assert placed.hosts == {"e0": {"v0": 1, "v1": 1}, "e1": {"v0": 1, "v1": 1}}
    assert placed.plan.unserved_qps == (0.0,)
    assert placed.plan.bound is None


def test_placed_plan_what_finds_no_place_is_named_and_serves_nobody() -> None:
    """Two lanes of two stand; the third is homeless in every round, and its 20 a second are unserved."""
    asked = problem((0.9, 20.0, 2), cores=3, machines=2, demand_qps=60.0)
    placed = placed_plan(asked, [hosts(2, 3)], budget_s=5.0, clock=clock)

    sound(placed, asked, [hosts(2, 3)])
    assert placed.homeless in ({}, {"v0@p/b1": 1})
    assert placed.plan.unserved_qps[0] == pytest.approx(20.0)


def test_placed_plan_failures_are_known_to_the_solver() -> None:
    """One executor of two cannot load `v0`: two lanes of it at most, and no second solve for that."""
    where = [hosts(2, 2, e0=("v0",))]
    asked = problem((0.9, 10.0, 1), (0.7, 10.0, 1), cores=2, machines=2, demand_qps=40.0)
    placed = placed_plan(asked, where, budget_s=5.0, clock=clock)

    sound(placed, asked, where)
    assert placed.hosts == {"e0": {"v1": 2}, "e1": {"v0": 2}}
    assert (placed.rounds, placed.plan.unserved_qps) == (1, (0.0,))


def test_placed_plan_out_of_time_keeps_the_first() -> None:
    """The clock runs out in the first round: what stands is reported as it stands."""
    asked = problem((0.9, 20.0, 2), (0.7, 5.0, 1), cores=3, machines=2, demand_qps=50.0)
    ticks = iter(range(10_000))
    placed = placed_plan(asked, [hosts(2, 3)], budget_s=0.5, clock=lambda: float(next(ticks)))

    sound(placed, asked, [hosts(2, 3)])
    assert placed.rounds == 1


def test_placed_plan_random_fleets_count_nothing_that_stands_nowhere() -> None:
    """Wide and narrow kinds, failures, two pools: the plan's own account holds over what was placed."""
    rng = np.random.default_rng(3)
    rounds = []
    for _ in range(40):
        cores, counts = rng.integers(2, 6, 2).tolist(), rng.integers(1, 5, 2).tolist()
        kinds = tuple(
            LaneKind(
                name=f"v{j // 2}@p{h}/b{j}", variant=f"v{j // 2}", pool=h, accuracy=float(rng.uniform(0.5, 0.95)),
                capacity_qps=float(rng.uniform(2, 30)), resources=(1 + j // 2 % 3,), load_us=1_000,
            )
            for h in range(2) for j in range(8)
        )  # fmt: skip
        asked = Problem(
            pools=tuple(
                Pool(name=f"p{h}", usd_hour=1.0, resources=(cores[h],), machines_min=counts[h], machines_max=counts[h])
                for h in range(2)
            ),
            kinds=kinds,
            classes=tuple(
                QueryClass(
                    name=f"c{c}", demand_qps=float(rng.uniform(5, 120)),
                    kinds=tuple(sorted(rng.choice(16, 9, replace=False).tolist())),
                )
                for c in range(3)
            ),
            weights=Weights(beta=0.0, gamma=0.01), warm=(tuple(range(4)),),
        )  # fmt: skip
        where = [
            [
                Host(
                    name=f"p{h}e{n}", pool=f"p{h}", cores=cores[h],
                    failed=tuple(f"v{v}" for v in range(4) if rng.random() < 0.2),
                )
                for n in range(counts[h])
            ]
            for h in range(2)
        ]  # fmt: skip
        assert check(limited(asked, where)) == []
        placed = placed_plan(asked, where, budget_s=5.0, clock=clock)
        sound(placed, asked, where)
        rounds.append(placed.rounds)

    assert len(set(rounds)) > 1
