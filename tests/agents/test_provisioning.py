"""How many machines there are, by hand and as a world in which they boot, serve, fall silent and end."""

from __future__ import annotations

import numpy as np
import pytest

from agents.provisioning import Act, Bounds, Drain, Kill, Machine, Start, decide, within
from streams.clock import Micros

S = 1_000_000
BOUNDS = Bounds(least=1, most=4, boot_us=60 * S, silence_us=5 * S, drain_us=30 * S)


def booting(name: str, started_s: int = 0) -> Machine:
    return Machine(name, Micros(started_s * S))


def ready(name: str, heard_s: int = 100, started_s: int = 0) -> Machine:
    return Machine(name, Micros(started_s * S), heard_us=Micros(heard_s * S))


def at(now_s: int, wanted: int, *machines: Machine, leaving: tuple[str, ...] = ()) -> list[Act]:
    return decide(wanted, machines, BOUNDS, leaving=leaving, now_us=Micros(now_s * S))


def test_decide_bounds_come_before_orders() -> None:
    """None is too few, nine too many."""
    assert at(0, 0) == [Start(1)]
    assert at(0, 9) == [Start(4)]
    assert (within(0, BOUNDS), within(9, BOUNDS)) == (1, 4)


def test_decide_what_boots_counts() -> None:
    """An order that is repeated while machines boot starts no more."""
    assert at(10, 3, booting("a"), booting("b")) == [Start(1)]
    assert at(10, 2, booting("a"), booting("b")) == []


def test_decide_too_many_drain_first_those_named_then_those_that_boot() -> None:
    """Then the youngest; what drains already is not counted again."""
    machines = (ready("a"), ready("b", started_s=5), booting("c", 80), ready("d"))

    assert at(100, 3, *machines) == [Drain("c")]
    assert at(100, 2, *machines) == [Drain("c"), Drain("b")]
    assert at(100, 3, *machines, leaving=("a",)) == [Drain("a")]
    assert at(100, 3, ready("a"), ready("b"), ready("d"), booting("c")._replace(drain_us=Micros(99 * S))) == []


def test_decide_lost_is_killed_and_replaced() -> None:
    """Never heard of, silent, or not drained in time."""
    assert at(61, 1, booting("a")) == [Kill("a", "it was never heard of"), Start(1)]
    assert at(106, 1, ready("a")) == [Kill("a", "it fell silent"), Start(1)]
    stuck = ready("a")._replace(drain_us=Micros(60 * S))
    assert at(100, 1, stuck, ready("b")) == [Kill("a", "it did not drain in time")]


def test_decide_bounds_how_many_boot_at_once() -> None:
    """A large order comes in steps."""
    wide = BOUNDS._replace(most=100, starts_max=2)

    assert decide(50, [], wide, now_us=Micros(0)) == [Start(2)]
    assert decide(50, [booting("a")], wide, now_us=Micros(0)) == [Start(1)]


@pytest.mark.parametrize("seed", range(20))
def test_decide_converges_whatever_happens(seed: int) -> None:
    """Machines end, hang and boot slowly while orders change; once all is quiet there are as many as wanted."""
    rng = np.random.default_rng(seed)
    machines: dict[str, Machine] = {}
    hung: set[str] = set()
    number, wanted = 0, 1
    for second in range(600):
        now = Micros(second * S)
        trouble = second < 400
        if trouble and rng.random() < 0.05:
            wanted = int(rng.integers(0, 7))
        for name, machine in list(machines.items()):
            if trouble and rng.random() < 0.01:
                del machines[name]  # it ended
            elif trouble and rng.random() < 0.01:
                hung.add(name)
            elif machine.drain_us is not None and name not in hung and now - machine.drain_us > 3 * S:
                del machines[name]
            elif name not in hung and now - machine.started_us > 10 * S:
                machines[name] = machine._replace(heard_us=now)
        for act in decide(wanted, list(machines.values()), BOUNDS, now_us=now):
            match act:
                case Start(count):
                    for _ in range(count):
                        number += 1
                        machines[f"m{number}"] = Machine(f"m{number}", now)
                case Drain(name):
                    machines[name] = machines[name]._replace(drain_us=now)
                case Kill(name):
                    del machines[name]
        serving = [machine for machine in machines.values() if machine.drain_us is None]
        assert len(serving) <= BOUNDS.most
        assert len(machines) <= BOUNDS.most + BOUNDS.starts_max

    assert len(machines) == within(wanted, BOUNDS)
    assert decide(wanted, list(machines.values()), BOUNDS, now_us=Micros(600 * S)) == []
