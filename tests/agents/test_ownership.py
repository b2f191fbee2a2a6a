"""How live routers divide the executors."""

from __future__ import annotations

from agents.ownership import SILENCE_US, Ownership
from streams.records import RouterReport
from tests.agents.builders import T0

EXECUTORS = [f"e{i:03}" for i in range(64)]


def among(*routers: str) -> dict[str, Ownership]:
    """One view per router, all of which have heard of all."""
    views = {name: Ownership(name) for name in routers}
    for view in views.values():
        for name in routers:
            view.heard(RouterReport(router=name, sent_us=T0), now_us=T0)
    return views


def test_divide_alone_owns_everything() -> None:
    """One router: all executors, unshared."""
    assert Ownership("r").divide(EXECUTORS, now_us=T0) == (set(EXECUTORS), False)


def test_divide_few_executors_are_shared() -> None:
    """31 executors are fewer than 16 for each of two routers."""
    view = among("r", "s")["r"]

    assert view.divide(EXECUTORS[:31], now_us=T0) == (set(EXECUTORS[:31]), True)


def test_divide_many_executors_have_one_owner_each() -> None:
    """The routers' shares are a partition, and none is far from even."""
    shares = [view.divide(EXECUTORS, now_us=T0) for view in among("r", "s", "u").values()]

    assert sorted(name for owned, _ in shares for name in owned) == EXECUTORS
    assert not any(shared for _, shared in shares)
    assert all(10 <= len(owned) <= 34 for owned, _ in shares)


def test_divide_a_router_that_goes_moves_only_its_own() -> None:
    """Rendezvous hashing: what the others owned stays with them."""
    views = among("r", "s", "u")
    before = {name: view.divide(EXECUTORS, now_us=T0)[0] for name, view in views.items()}

    changed = views["r"].heard(RouterReport(router="u", sent_us=T0, state="gone"), now_us=T0)
    after, _ = views["r"].divide(EXECUTORS, now_us=T0)

    assert changed
    assert before["r"] < after <= before["r"] | before["u"]


def test_routers_silence_is_absence() -> None:
    """Four missed heartbeats, and the others divide what it had."""
    view = among("r", "s")["r"]

    assert view.routers(now_us=T0 + SILENCE_US) == ("r", "s")
    assert view.routers(now_us=T0 + SILENCE_US + 1) == ("r",)


def test_heard_only_news_is_a_change() -> None:
    """Neither one's own report, nor another heartbeat, nor history from the topic."""
    view = Ownership("r")
    reports = [
        RouterReport(router="r", sent_us=T0),
        RouterReport(router="s", sent_us=T0 - 60_000_000),
        RouterReport(router="s", sent_us=T0),
        RouterReport(router="s", sent_us=T0),
        RouterReport(router="s", sent_us=T0, state="gone"),
    ]

    assert [view.heard(report, now_us=T0) for report in reports] == [False, False, True, False, True]
