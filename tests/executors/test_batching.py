"""The batching policy: by example, against the definition of the window drop, and as properties."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from executors.batching import (
    BATCH_FIXED_US,
    GAIN_MIN,
    RECONSIDER_US,
    Nothing,
    Reason,
    Run,
    WaitUntil,
    decide,
    size_efficient,
    size_target,
    window_drop,
)
from executors.job import Job
from executors.queue import EdfQueue
from registry.latency import LatencyProfile
from registry.targets import batch_need, batch_target

RUN_US = LatencyProfile.linear(fixed_us=2_000, per_item_us=1_000, batch_max=8).p99_us  # l(b) = 2 ms + b ms

curves = st.builds(
    lambda steps: [0, *(sum(steps[: b + 1]) for b in range(len(steps)))],  # ascending, index 0 unused
    st.lists(st.integers(0, 30), min_size=1, max_size=6),
)
queues = st.lists(st.integers(0, 100), min_size=1, max_size=12).map(sorted)


def queued(deadlines_us: list[int], queued_us: list[int] | None = None) -> EdfQueue:
    queue = EdfQueue()
    for deadline_us, came_us in zip(deadlines_us, queued_us or [0] * len(deadlines_us), strict=True):
        queue.push(Job(variant="v", deadline_us=deadline_us, queued_us=came_us))
    return queue


def decided(deadlines_us: list[int], **changes: Any) -> Run | WaitUntil | Nothing:
    """`decide` of jobs that came at 0, with a target of 4 of 8, one lane, all the free waiting, no reserve, at 0."""
    given_: dict[str, Any] = {
        "run_us": RUN_US, "target": 4, "size_max": 8, "lanes_free": 1, "phi": 1.0, "reserve_us": 0, "now_us": 0,
    }  # fmt: skip
    return decide(queued(deadlines_us), **{**given_, **changes})


def test_decide_slack_left_names_last_free_instant() -> None:
    """Two queued, slack for a third: wait until the deadline minus the three-query service time."""
    assert decided([20_000, 30_000]) == WaitUntil(0, 15_000)


def test_decide_reserve_moves_last_free_instant_forward() -> None:
    """What the way back needs is not free to wait."""
    assert decided([20_000, 30_000], reserve_us=3_000) == WaitUntil(0, 12_000)


def test_decide_phi_takes_its_share_of_the_free_time() -> None:
    """Half of the 15 ms from the head's arrival to its frontrun."""
    assert decided([20_000, 30_000], phi=0.5) == WaitUntil(0, 7_500)


def test_decide_far_deadline_is_looked_at_again_soon() -> None:
    """The target falls with the rate, so no wait is longer than RECONSIDER_US at a time."""
    assert decided([900_000], now_us=1_000) == WaitUntil(0, 1_000 + RECONSIDER_US)


def test_decide_at_frontrun_runs_what_there_is() -> None:
    """At the named instant waiting costs the head its deadline, so the two run."""
    assert decided([20_000, 30_000], now_us=15_000) == Run(0, 2, Reason.FRONTRUN)


def test_decide_phi_zero_runs_at_once() -> None:
    """Eager never waits."""
    assert decided([20_000], phi=0.0) == Run(0, 1, Reason.EAGER)


def test_decide_target_reached_runs_at_once() -> None:
    """Four of four, with slack to spare."""
    assert decided([40_000] * 4) == Run(0, 4, Reason.TARGET)


def test_decide_long_queue_grows_beyond_target_as_far_as_head_allows() -> None:
    """Six are waiting and the head can bear a batch of five: 2 + 5 ms."""
    assert decided([7_500, *[40_000] * 5]) == Run(0, 5, Reason.TARGET)


def test_decide_size_max_waiting_runs_full() -> None:
    """No batch can become larger than the model's cap."""
    assert decided([40_000] * 9) == Run(0, 8, Reason.FULL)


def test_decide_head_that_cannot_wait_for_others_runs_without_them() -> None:
    """The target is 3 and three wait, but the head bears a batch of two (4 ms) and not of three (5 ms)."""
    assert decided([4_500, 40_000, 40_000], target=3) == Run(0, 2, Reason.FRONTRUN)


def test_decide_hopeless_heads_are_let_go_for_the_rest() -> None:
    """Nothing ends by 1 ms; the other two wait until the last start of three."""
    assert decided([1_000, 20_000, 30_000]) == WaitUntil(1, 15_000)


def test_decide_nobody_can_be_saved_names_how_many_to_let_go() -> None:
    """All three are past what even a batch of one needs."""
    assert decided([1_000, 2_000, 2_999]) == Nothing(3)


def test_decide_several_free_lanes_wait_for_the_target_as_one_does() -> None:
    """Two are queued and two lanes are free: run apart they would make two batches of one, where four are wanted."""
    assert decided([20_000, 30_000], lanes_free=2) == WaitUntil(0, 15_000)
    assert decided([20_000, 30_000], lanes_free=2, now_us=15_000) == Run(0, 2, Reason.FRONTRUN)
    assert decided([20_000, 30_000, 30_000], lanes_free=4) == WaitUntil(0, 14_000)


def test_decide_free_lanes_share_what_is_more_than_a_target() -> None:
    """Eight wait and two lanes are free: each takes its four, though one batch of eight would be in time as well."""
    assert decided([40_000] * 8, lanes_free=2) == Run(0, 4, Reason.TARGET)
    assert decided([40_000] * 12, lanes_free=2) == Run(0, 6, Reason.TARGET)


@given(deadlines_us=queues, run_us=curves, lanes_free=st.integers(1, 4), start_us=st.integers(0, 60), data=st.data())
def test_window_drop_is_its_definition(
    deadlines_us: list[int], run_us: list[int], lanes_free: int, start_us: int, data: st.DataObject
) -> None:
    """The docstring's i, b and dropped heads, by looking at every suffix."""
    count, size_max = len(deadlines_us), len(run_us) - 1
    target = data.draw(st.integers(1, size_max))

    def share(i: int) -> int:
        return next(k for k in range(1, count + 1) if k * lanes_free >= count - i)

    runnable = [i for i in range(count) if deadlines_us[i] >= start_us + run_us[min(share(i), size_max)]]
    size = min(target, share(runnable[0])) if runnable else 0
    hopeless = [d for d in deadlines_us if d < start_us + run_us[max(1, size)]]

    assert window_drop(
        deadlines_us, run_us=run_us, target=target, size_max=size_max, lanes_free=lanes_free, start_us=start_us
    ) == (len(hopeless), size)


@given(
    deadlines_us=queues,
    run_us=curves,
    lanes_free=st.integers(1, 4),
    phi=st.floats(0, 1),
    reserve_us=st.integers(0, 10),
    now_us=st.integers(0, 60),
    data=st.data(),
)
def test_decide_runs_only_what_is_in_time_and_waits_only_while_it_stays_so(
    deadlines_us: list[int],
    run_us: list[int],
    lanes_free: int,
    phi: float,
    reserve_us: int,
    now_us: int,
    data: st.DataObject,
) -> None:
    """Every batch ends before its tightest deadline, every wait ends while one more could still be in time."""
    size_max = len(run_us) - 1
    target = data.draw(st.integers(1, size_max))
    came_us = [data.draw(st.integers(0, now_us)) for _ in deadlines_us]

    got = decide(
        queued(deadlines_us, came_us), run_us=run_us, target=target, size_max=size_max, lanes_free=lanes_free,
        phi=phi, reserve_us=reserve_us, now_us=now_us,
    )  # fmt: skip

    match got:
        case Run(drop, size, _):
            assert 1 <= size <= min(size_max, len(deadlines_us) - drop)
            assert deadlines_us[drop] >= now_us + reserve_us + run_us[size]
        case WaitUntil(drop, at_us):
            waiting = len(deadlines_us) - drop
            assert 1 <= waiting < target
            assert now_us < at_us <= deadlines_us[drop] - reserve_us - run_us[waiting + 1]
        case Nothing(drop):
            assert drop == len(deadlines_us)
            assert deadlines_us[-1] < now_us + reserve_us + run_us[1]


def test_decide_waits_only_to_its_own_instant() -> None:
    """Asked again at the instant it named, with nothing new, it runs."""
    queue = [60_000, 70_000]
    now_us = 0
    for _ in range(3):
        got = decided(queue, phi=0.9, now_us=now_us)
        if not isinstance(got, WaitUntil):
            break
        now_us = got.at_us

    assert got == Run(0, 2, Reason.FRONTRUN)
    assert now_us == round(0.9 * (60_000 - 5_000))


CURVE = LatencyProfile.linear(fixed_us=5_000, per_item_us=1_000, batch_max=64)


def target(rate_qps: float, *, slo_us: int = 100_000) -> int:
    return size_target(CURVE, slo_us=slo_us, rate_qps=rate_qps, lanes=1, reserve_us=0, utilisation=0.8)


def test_size_target_at_low_rate_is_one() -> None:
    """A lane that is mostly idle has no use for batches, whatever the SLO affords."""
    assert target(10.0) == 1


def test_size_target_at_medium_rate_is_what_the_rate_needs() -> None:
    """400/s x (5 ms + b ms) <= 0.8 b first holds at 5: 4 ms of lane for 5 queries at most."""
    assert target(400.0) == batch_need(CURVE, rate_qps=400.0, lanes=1, utilisation=0.8) == 5


def test_size_target_at_high_rate_is_what_the_slo_affords() -> None:
    """900/s needs more than 30 ms can hold."""
    afford = batch_target(CURVE, slo_us=30_000, rate_qps=900.0, lanes=1, reserve_us=0)

    assert target(900.0, slo_us=30_000) == afford == 10


@given(rate_qps=st.floats(0, 5_000), slo_us=st.integers(1, 1_000_000))
def test_size_target_is_a_batch_that_pays(rate_qps: float, slo_us: int) -> None:
    """Between one and the efficient size, always."""
    assert 1 <= target(rate_qps, slo_us=slo_us) <= size_efficient(CURVE)


def test_size_efficient_without_fixed_cost_batches_for_the_hand_over_alone() -> None:
    """At 50 ms an item the 0.3 ms of handing over is below GAIN_MIN: batches of one."""
    assert size_efficient(LatencyProfile.linear(fixed_us=0, per_item_us=50_000, batch_max=32)) == 1


def test_size_efficient_of_a_fixed_cost_is_the_cap() -> None:
    """Where a batch costs the same at any size, the largest is best by far."""
    assert size_efficient(LatencyProfile.linear(fixed_us=10_000, per_item_us=0, batch_max=32)) == 32


@given(fixed_us=st.integers(0, 50_000), per_item_us=st.integers(0, 50_000), batch_max=st.integers(1, 40))
def test_size_efficient_is_the_smallest_near_the_best(fixed_us: int, per_item_us: int, batch_max: int) -> None:
    """It is within GAIN_MIN of the cheapest size, and nothing smaller is."""
    latency = LatencyProfile.linear(fixed_us=fixed_us, per_item_us=per_item_us, batch_max=batch_max)
    cost_us = {b: (latency.p50_us[b] + BATCH_FIXED_US) / b for b in range(1, batch_max + 1)}

    near = [b for b, us in cost_us.items() if us <= min(cost_us.values()) * (1 + GAIN_MIN)]

    assert size_efficient(latency) == min(near)
