"""Tables of `headrace status`."""

from __future__ import annotations

from headrace import tables
from headrace.listen import Heard
from streams.clock import wall_us
from streams.records import LaneReport, Telemetry


def column(heard: Heard, title: str) -> list[str]:
    table = tables.fleet(heard)
    (found,) = [column for column in table.columns if column.header == title]
    return [str(cell) for cell in found.cells]


def test_fleet_shows_the_slowest_lane_and_whether_that_is_old() -> None:
    """One executor as its profiles say, one with a lane three times slower, one that is not sure of it, one empty."""

    def says(name: str, *lanes: LaneReport) -> Telemetry:
        return Telemetry(executor=name, pool="cpu", slots=(0,), lanes=lanes, sent_us=wall_us())

    well, slow = LaneReport(variant="a"), LaneReport(variant="b", drift=3.0)
    old = LaneReport(variant="b", drift=3.0, doubt=1)
    words = (says("e1", well), says("e2", well, slow), says("e3", old), says("e4"))
    heard = Heard({word.executor: word for word in words}, {}, {}, {})

    assert column(heard, "name") == ["e1", "e2", "e3", "e4"]
    assert column(heard, "drift") == ["1.00", "3.00", "3.00?", "-"]
