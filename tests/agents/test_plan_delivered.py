"""Eta from telemetry: saturated lanes tell it, idle ones only a floor, and no restart passes for a measurement."""

from __future__ import annotations

from itertools import pairwise

import pytest

from agents.plan_delivered import DEADBAND, Delivered, cap_of
from optimizer.eta import LOW, START
from registry.latency import LatencyProfile
from streams.records import LaneReport, Telemetry

S = 1_000_000
CURVE = LatencyProfile.linear(fixed_us=10_000, per_item_us=10_000, batch_max=8)  # b=4: 50 ms, 80/s
AT = {("v", "cpu"): CURVE}


class Fleet:
    """Executors with one variant of two lanes each, that say every second what they have done."""

    def __init__(self, *names: str, pool: str = "cpu") -> None:
        self.delivered = Delivered()
        self.pool = pool
        self.names = names
        self.sums = {name: [0.0, 0.0, 0.0] for name in names}
        self.lanes = dict.fromkeys(names, 2)
        self.now_us = 1_000 * S

    def run(self, seconds: int, *, qps: float, batch: float, busy: float) -> dict[str, float]:
        """Each executor delivers `qps`, in batches of a mean size, with its lanes busy for a share of the time."""
        for _ in range(seconds):
            self.now_us += S
            for name in self.names:
                for n, added in enumerate((qps, qps / batch, busy * S * self.lanes[name])):
                    self.sums[name][n] += added
                done, batches, busy_us = (round(value) for value in self.sums[name])
                lane = LaneReport(variant="v", lanes=self.lanes[name], done=done, batches=batches, busy_us=busy_us)
                self.delivered.heard(Telemetry(executor=name, pool=self.pool, lanes=(lane,), sent_us=self.now_us))
            self.delivered.turn(AT, now_us=self.now_us)
        return self.delivered.eta()


def test_eta_of_saturated_lanes_becomes_what_they_deliver() -> None:
    """96 a second of two lanes that could do 160 at batches of 4: 0.6, however many executors say so."""
    for names in (("e1",), ("e1", "e2", "e3")):
        fleet = Fleet(*names)
        assert fleet.run(9, qps=96, batch=4, busy=1.0) == {}
        assert fleet.run(1_800, qps=96, batch=4, busy=1.0)["v@cpu"] == pytest.approx(0.6, abs=DEADBAND)


def test_eta_of_idle_lanes_only_rises() -> None:
    """Half busy: 32 a second says nothing; 144 of 160 says that 0.9 can be had."""
    fleet = Fleet("e1")
    assert fleet.run(600, qps=32, batch=4, busy=0.5) == {}
    assert fleet.run(1_800, qps=144, batch=4, busy=0.9)["v@cpu"] == pytest.approx(0.9, abs=DEADBAND)
    assert fleet.run(600, qps=8, batch=4, busy=0.1)["v@cpu"] == pytest.approx(0.9, abs=DEADBAND)


def test_eta_batches_that_do_not_fill_count_against_their_kind() -> None:
    """A mean of 3 is a lane of batch 4: of its 160 a second, 112 are 0.7; a lane of 3 would have made it 0.75."""
    value = Fleet("e1").run(1_800, qps=112, batch=3, busy=1.0).get("v@cpu", START)

    assert value == pytest.approx(0.7, abs=DEADBAND)


def test_eta_a_restart_is_no_measurement() -> None:
    """Counters that begin anew every 7 seconds: no window is whole, nothing is learnt from what is missing."""
    fleet = Fleet("e1")
    for _ in range(60):
        fleet.run(7, qps=150, batch=4, busy=1.0)
        fleet.sums["e1"] = [0.0, 0.0, 0.0]

    assert fleet.delivered.eta().get("v@cpu", START) >= START


def test_eta_lanes_that_changed_begin_a_window_anew() -> None:
    """Four lanes' work counted as eight lanes' would look like half."""
    fleet = Fleet("e1")
    fleet.run(19, qps=120, batch=4, busy=1.0)
    before = dict(fleet.delivered.eta())
    fleet.lanes["e1"] = 8
    fleet.run(1, qps=120, batch=4, busy=1.0)

    assert fleet.delivered.eta() == before


def test_eta_of_unknown_profiles_and_few_batches_is_not_learnt() -> None:
    """A pool without a profile; a batch a second."""
    assert Fleet("e1", pool="other").run(600, qps=10, batch=4, busy=1.0) == {}
    assert Fleet("e1").run(600, qps=1, batch=1, busy=1.0) == {}


def test_eta_said_stays_within_the_deadband() -> None:
    """It goes down in steps of at least that, and ends at its lower bound."""
    fleet = Fleet("e1")
    said = [START]
    for _ in range(400):
        value = fleet.run(10, qps=10, batch=4, busy=1.0).get("v@cpu", START)
        if value != said[-1]:
            said.append(value)

    assert LOW <= said[-1] <= LOW + DEADBAND + 0.01
    assert all(before - after >= DEADBAND - 0.01 for before, after in pairwise(said))
    assert all(round(value, 2) == value for value in said)


def test_gone_executors_are_forgotten() -> None:
    """Their samples, not what was learnt from them."""
    fleet = Fleet("e1")
    learnt = fleet.run(600, qps=50, batch=4, busy=1.0)
    for wait_s in (20, 40):
        fleet.delivered.turn(AT, now_us=fleet.now_us + wait_s * S)

    assert fleet.delivered.eta() == learnt
    assert fleet.delivered._base == {}


def test_cap_of_is_the_smallest_that_holds_the_mean() -> None:
    """Beyond the menu it is the largest."""
    assert [cap_of(mean) for mean in (0.0, 1.0, 1.005, 1.5, 4.0, 5.0, 100.0)] == [1, 1, 1, 2, 4, 8, 32]
