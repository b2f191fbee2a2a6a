"""Counts become machines with few moves; nothing without a place is dropped in silence; transitions are bounded."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from optimizer.evaluate import evaluate
from optimizer.placement import confined, first_fit, place, tightened
from optimizer.plan import Plan, Terms
from optimizer.problem import LaneKind, Pool, Problem, with_machines
from optimizer.transition import Hysteresis, PoolState, sized, transition

RULE = Hysteresis(hold=2, step_out=4, step_in=2)


def _problem(*shares: int, machines: int = 4, resident: tuple[int, ...] = ()) -> Problem:
    """One pool of devices of 100 units; lane kinds that take `shares` of them."""
    pool = Pool(name="gpu", usd_hour=3.0, resources=(100,), machines_max=machines, machines_now=machines)
    kinds = tuple(
        LaneKind(
            name=f"k{j}", pool=0, accuracy=0.8, capacity_qps=10, resources=(share,), load_us=1_000,
            resident=resident[j] if resident else 0,
        )
        for j, share in enumerate(shares)
    )  # fmt: skip
    return Problem(pools=(pool,), kinds=kinds, classes=(), resources=("device_units",))


def test_place_exact_packs_what_first_fit_cannot() -> None:
    """45+30+25 and 40+35+25: by size alone one lane is left over, by search none is."""
    problem = _problem(45, 40, 35, 30, 25)
    lanes = [1, 1, 1, 1, 2]
    now: list[dict[int, int]] = [{}, {}]

    by_size = first_fit(problem, 0, {j: n for j, n in enumerate(lanes) if n}, now)
    exact = place(problem, 0, lanes, now, seconds=5)

    assert by_size.homeless != {}
    assert exact.homeless == {}
    assert exact.exact


def test_place_keeps_what_is_there() -> None:
    """Lanes that stay are not moved: one load for the one that is new."""
    problem = _problem(50, 50)
    now = [{0: 1, 1: 1}, {0: 1}]

    placed = place(problem, 0, [2, 2], now, seconds=5)

    assert placed.machines == ({0: 1, 1: 1}, {0: 1, 1: 1})
    assert (placed.loads, placed.unloads) == (1, 0)


def test_place_three_of_sixty_on_two_machines_names_the_one_left_over() -> None:
    """180 of 200 units are enough in sum and not in pieces; a re-solve may have two, and as many small ones as fit."""
    problem = _problem(60, 20, machines=2)
    fixed = with_machines(problem, (2,))

    placed = place(problem, 0, [3, 0], [{}, {}], seconds=5)
    tight = tightened(fixed, 0, placed)

    assert placed.homeless == {0: 1}
    assert [words for words in evaluate(_plan(3, 0), tight).broken if "used" in words] != []
    assert evaluate(_plan(2, 4), tight).broken == ()
    assert evaluate(_plan(2, 5), tight).broken != ()


def test_confined_kinds_have_the_room_of_the_machines_that_may_hold_them() -> None:
    """On one of two machines of 100: three lanes of 30, and others as before."""
    tight = confined(with_machines(_problem(30, 20, machines=2), (2,)), 0, {0}, free=1, machines=2)

    assert evaluate(_plan(3, 5), tight).broken == ()
    assert evaluate(_plan(4, 0), tight).broken != ()
    assert evaluate(_plan(0, 10), tight).broken == ()


def _plan(*lanes: int) -> Plan:
    terms = Terms(accuracy=0.0, money=0.0, change=0.0, unserved=0.0, usd_hour=0.0, objective=0.0)
    return Plan(
        machines=(2,), lanes=lanes, flows=(), unserved_qps=(), terms=terms, status="feasible", method="hint"
    )  # fmt: skip


def test_place_a_barred_kind_goes_elsewhere_or_is_named() -> None:
    """Also off the machine that held it; by first fit and by search."""
    problem = _problem(50, 40)
    now: list[dict[int, int]] = [{0: 1}, {}]

    for seconds in (0, 5):
        elsewhere = place(problem, 0, [1, 2], now, seconds=seconds, barred=[{0}, ()])
        nowhere = place(problem, 0, [1, 2], now, seconds=seconds, barred=[{0}, {0}])

        assert (elsewhere.machines[1].get(0), elsewhere.homeless) == (1, {})
        assert 0 not in elsewhere.machines[0]
        assert nowhere.homeless == {0: 1}
        assert sum(held.get(1, 0) for held in nowhere.machines) == 2


def test_place_exact_leaves_room_where_others_are_barred() -> None:
    """First fit puts what may go anywhere onto the only machine that the other may use."""
    problem = _problem(60, 50)

    placed = place(problem, 0, [1, 1], [{}, {}], seconds=5, barred=[(), {1}])
    by_size = first_fit(problem, 0, {0: 1, 1: 1}, [{}, {}], [(), {1}])

    assert by_size.homeless == {1: 1}
    assert (placed.machines, placed.homeless) == (({1: 1}, {0: 1}), {})


def test_place_random_pools_lose_and_overfill_nothing() -> None:
    """Every lane is on a machine or named; none holds too much, or what it must not; exact is never worse."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        problem = _problem(*rng.integers(10, 66, 4).tolist())
        lanes = rng.integers(0, 4, 4).tolist()
        now = [{int(j): 1 for j in rng.integers(0, 4, 1)} for _ in range(4)]
        barred = [{int(j) for j in rng.integers(0, 4, 1) if j not in held} for held in now]
        placed = place(problem, 0, lanes, now, seconds=1, barred=barred)
        by_size = first_fit(problem, 0, {j: n for j, n in enumerate(lanes) if n}, now, barred)

        for j, wanted in enumerate(lanes):
            assert sum(held.get(j, 0) for held in placed.machines) + placed.homeless.get(j, 0) == wanted
        for held, off in zip(placed.machines, barred, strict=True):
            assert not off & held.keys()
            assert sum(problem.kinds[j].resources[0] * n for j, n in held.items()) <= 100
        assert sum(placed.homeless.values()) <= sum(by_size.homeless.values())


def test_sized_out_at_once_but_no_more_than_a_step() -> None:
    """What boots counts as alive; ten more are ordered in steps of four."""
    move = sized(12, 2, needed_now=2, state=PoolState(), rule=RULE)

    assert (move.machines, move.why) == (6, "step")


def test_sized_in_needs_two_plans_that_agree_and_the_larger_counts() -> None:
    """6, then 7, of 10: held once, then two fewer (the step), then 7."""
    first = sized(6, 10, needed_now=5, state=PoolState(), rule=RULE)
    second = sized(7, 10, needed_now=5, state=first.state, rule=RULE)
    third = sized(7, second.machines, needed_now=5, state=second.state, rule=RULE)

    assert (first.machines, first.why) == (10, "hold")
    assert (second.machines, second.why) == (8, "step")
    assert third.machines == 7


def test_sized_in_stands_until_the_machines_have_gone() -> None:
    """Two of three are to go, which takes several plans: no plan that agrees takes the word back."""
    state, sizes = PoolState(), []
    for alive in (3, 3, 3, 3, 2, 2, 1, 1):
        move = sized(1, alive, needed_now=1, state=state, rule=RULE)
        state = move.state
        sizes.append(move.machines)

    assert sizes == [3, 1, 1, 1, 1, 1, 1, 1]
    assert state == PoolState()


def test_sized_never_in_on_a_forecast_alone() -> None:
    """The forecast says 2, the load that is measured needs 9."""
    state = PoolState()
    for _ in range(5):
        move = sized(2, 10, needed_now=9, state=state, rule=RULE)
        state = move.state

        assert move.machines >= 9


def test_sized_one_plan_that_disagrees_starts_the_count_again() -> None:
    """Fewer, as many, fewer: nothing has been taken away."""
    first = sized(6, 10, needed_now=0, state=PoolState(), rule=RULE)
    second = sized(10, 10, needed_now=0, state=first.state, rule=RULE)
    third = sized(6, 10, needed_now=0, state=second.state, rule=RULE)

    assert [first.machines, second.machines, third.machines] == [10, 10, 10]


@pytest.mark.parametrize(("share", "tight"), [(30, ()), (60, (1,))])
def test_transition_create_before_destroy_where_there_is_room(share: int, tight: tuple[int, ...]) -> None:
    """One lane replaces another on one machine: both at once if they fit, else the old one goes first."""
    problem = _problem(share, share, machines=1, resident=(1, 0))
    found = transition(problem, (1,), (0, 1))

    assert (found.load, found.unload, found.room) == ((0, 1), (1, 0), tight)
    assert found.load_us == 1_000
    assert found.start == found.stop == (0,)


def test_transition_machines_come_and_go() -> None:
    """Two more of four, or three fewer."""
    problem = _problem(10)

    assert transition(problem, (6,), (0,)).start == (2,)
    assert transition(problem, (1,), (0,)).stop == (3,)
    assert transition(msgspec.structs.replace(problem, kinds=()), (4,), ()).load == ()
