"""Which executors can be sent to."""

from __future__ import annotations

import msgspec

from agents.fleet import FORGET_US, REPLAYED_US, SILENCE_US, Fleet
from tests.agents.builders import ROUTER, T0, add_variant, catalog, selector, telemetry

MENU = catalog(("a", 0.9, 10, 2), ("b", 0.8, 10, 2))


def fleet() -> Fleet:
    made = Fleet(router=ROUTER)
    selector(MENU, made)
    return made


def names(made: Fleet, now_us: int) -> list[str]:
    return [executor.name for executor in made.live(now_us=now_us)]


def test_heard_ready_with_a_slot_is_routable() -> None:
    """The lowest owned slot is where to write."""
    made = fleet()

    assert made.heard(telemetry("e", "a", slots=(7, 3, 9)), now_us=T0)
    assert [(executor.name, executor.slot) for executor in made.live(now_us=T0)] == [("e", 3)]


def test_heard_without_slots_is_not_routable() -> None:
    """No slot, nowhere to write."""
    made = fleet()
    made.heard(telemetry("e", "a", slots=()), now_us=T0)

    assert names(made, T0) == []


def test_heard_states_other_than_ready_are_not_routable() -> None:
    """Starting, draining and gone executors get nothing; one that is ready again does."""
    made = fleet()
    seen = []
    for state in ("starting", "ready", "draining", "ready", "gone", "ready"):
        made.heard(telemetry("e", "a", state=state), now_us=T0)
        seen.append(made.routable(now_us=T0))

    assert seen == [0, 1, 0, 1, 0, 1]


def test_live_silence_excludes_and_a_word_brings_back() -> None:
    """Silent for longer than the bound: out; heard again: in, and that is a change."""
    made = fleet()
    made.heard(telemetry("e", "a"), now_us=T0)
    later = T0 + SILENCE_US + 1

    assert names(made, T0 + SILENCE_US) == ["e"]
    assert names(made, later) == []
    assert made.heard(telemetry("e", "a"), now_us=later)
    assert names(made, later) == ["e"]


def test_heard_same_again_is_no_change() -> None:
    """Heartbeats do not make the rings stale; a new slot or residency does."""
    made = fleet()
    changes = []
    for record in (
        telemetry("e", "a"), telemetry("e", "a", busy_ms=3, queued=1), telemetry("e", "a", slots=(2,)),
        telemetry("e", "a", "b", slots=(2,)), telemetry("e", "b", slots=(2,)),
    ):  # fmt: skip
        before = made.changes
        assert made.heard(record, now_us=T0) == (made.changes > before)
        changes.append(made.changes > before)

    assert changes == [True, False, True, True, True]


def test_heard_gone_of_a_stranger_is_no_change() -> None:
    """Nothing was known, nothing is lost."""
    assert not fleet().heard(telemetry("e", state="gone"), now_us=T0)


def test_heard_history_is_not_life() -> None:
    """A record sent long ago, read when the topic is read from its start, does not make an executor live."""
    made = fleet()
    record = msgspec.structs.replace(telemetry("e", "a"), sent_us=T0 - REPLAYED_US - 1)

    assert not made.heard(record, now_us=T0)
    assert names(made, T0) == []


def test_live_forgets_the_long_silent() -> None:
    """Names that never come back do not pile up."""
    made = fleet()
    made.heard(telemetry("e", "a"), now_us=T0)

    list(made.live(now_us=T0 + FORGET_US + 1))

    assert made.lane("e", "a") is None


def test_heard_unregistered_variant_is_left_out_until_it_is_known() -> None:
    """A lane needs a curve: it appears with the first telemetry after the registration."""
    menu = catalog(("a", 0.9, 10, 2))
    made = Fleet(router=ROUTER)
    router = selector(menu, made)
    made.heard(telemetry("e", "a", "new"), now_us=T0)
    before = made.lane("e", "new")
    add_variant(menu, "new", accuracy=0.5, fixed_ms=1, item_ms=1)
    router.refresh(now_us=T0)

    assert made.heard(telemetry("e", "a", "new"), now_us=T0)
    assert before is None
    assert made.lane("e", "new") is not None


def test_sent_counts_and_numbers() -> None:
    """`sent` gives the last number, and the queue grows by as many."""
    made = fleet()
    made.heard(telemetry("e", "a", busy_ms=5), now_us=T0)

    assert made.sent("e", "a", 3, now_us=T0) == T0 + 3
    lane = made.lane("e", "a")
    assert lane is not None
    assert lane.queued == 3
