"""When a process is started again."""

from __future__ import annotations

from streams.clock import Micros
from streams.restarts import GiveUp, RestartAt, Restarts


def test_ended_again_and_again_waits_longer_then_gives_up() -> None:
    """The wait doubles with every end in the window; after the bound it stays down."""
    restarts = Restarts(restarts_max=3)

    seen = [restarts.ended(now_us=Micros(0)) for _ in range(4)]

    assert seen == [RestartAt(Micros(100_000)), RestartAt(Micros(200_000)), RestartAt(Micros(400_000)), GiveUp(4)]


def test_ended_after_a_quiet_minute_is_forgiven() -> None:
    """Ends older than the window do not count."""
    restarts = Restarts(restarts_max=1)
    restarts.ended(now_us=Micros(0))

    assert restarts.ended(now_us=Micros(60_000_001)) == RestartAt(Micros(60_100_001))


def test_ended_none_allowed_gives_up_at_once() -> None:
    """restarts_max 0 never starts anything again."""
    assert Restarts(restarts_max=0).ended(now_us=Micros(5)) == GiveUp(1)
