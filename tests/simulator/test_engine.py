"""The clock of the second world."""

from __future__ import annotations

import numpy as np

from simulator.engine import Engine
from simulator.hops import Delays, Hop, Partition


def test_run_calls_in_the_order_of_time_and_then_of_saying() -> None:
    """Also what is said meanwhile, and what is due already comes at once."""
    engine, seen = Engine(now_us=100), []

    def note(name: str) -> None:
        seen.append((engine.now_us, name))
        if name == "b":
            engine.after(5, note, "later")
            engine.at(0, note, "overdue")

    for at_us, name in ((130, "c"), (110, "a"), (110, "b")):
        engine.at(at_us, note, name)
    engine.run(120)

    assert seen == [(110, "a"), (110, "b"), (110, "overdue"), (115, "later")]
    assert engine.now_us == 120
    engine.run(200)
    assert seen[-1] == (130, "c")


def test_every_goes_on_until_it_is_told_to_stop() -> None:
    """The first time after one period."""
    engine, seen = Engine(now_us=0), []

    def beat() -> bool:
        seen.append(engine.now_us)
        return len(seen) < 3

    engine.every(10, beat)
    engine.run(1_000)

    assert seen == [10, 20, 30]


def test_delays_have_the_quantiles_that_were_measured() -> None:
    """And a partition keeps its order."""
    delays = Delays(Hop(p50_us=800, p99_us=4_000), np.random.default_rng(1))
    drawn = delays.many(100_000)
    way = Partition(delays)
    arrivals = [way.arrival_us(sent_us) for sent_us in range(0, 100_000, 100)]

    assert abs(np.quantile(drawn, 0.5) / 800 - 1) < 0.02
    assert abs(np.quantile(drawn, 0.99) / 4_000 - 1) < 0.03
    assert arrivals == sorted(arrivals)
