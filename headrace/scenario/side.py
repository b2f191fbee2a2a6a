"""One side of a comparison: a whole Headrace on a prefix of its own, with a planner or with orders from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Producer

from agents.ordering import executor_order
from headrace.fleet_parts import Fleet
from headrace.fleet_records import records_of
from headrace.scenario.oracle import Fixed
from headrace.scenario.tape import Sent, Tape
from headrace.scenario.watch import Watch
from headrace.settings import load
from headrace.stack import Stack
from streams.rdlog import log as rdkafka
from streams.scaling import ExecutorOrder, Order, PoolOrder, encode_order
from streams.settings import KafkaSettings

FLUSH_S = 10.0

Own = Mapping[str, Mapping[str, Any]]


class Side:
    """Use it as a context manager: it starts the processes, and stops all of them.

    `control`: whether a planner decides. Units: `sizes` cores and USD an hour of one machine, by pool.
    """

    def __init__(
        self, name: str, fleet: Fleet, kafka: KafkaSettings, folder: Path, *, control: bool, own: Own | None = None,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:  # fmt: skip
        """own: settings of this side, by section, above those of the fleet."""
        self.name, self.fleet = name, fleet
        self.sizes = {pool: (part.cores, part.price_usd_hour) for pool, part in fleet.pools.items()}
        flags = fleet.flags(control=control)
        mine: dict[str, dict[str, Any]] = {
            "kafka": {"bootstrap": kafka.bootstrap, "prefix": f"{kafka.prefix}{name}.", "properties": kafka.properties},
            "up": {"state": folder / name},
            "executor": {"variants": []},
        }
        for part in (own or {}, flags):
            for section, values in part.items():
                mine[section] = {**values, **mine.get(section, {})}
        loaded = load(flags=mine, environ={})
        self.stack = Stack(loaded, config=None, fleet=fleet, records=records_of(fleet), tell=tell)
        self._open = ExitStack()
        self.watch: Watch
        self.tape: Tape
        self._orders: Producer

    def __enter__(self) -> Self:
        """Start, and wait until it serves what it is to hold by itself. Raises: whatever Stack raises."""
        try:
            self._open.enter_context(self.stack)
            self.stack.wait_ready()
            self._orders = Producer(self.kafka.producer(), logger=rdkafka)
            self.watch = Watch(self.kafka)
            self.watch.start()
            self._open.callback(self.watch.stop)
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_failure: object) -> None:
        self._open.close()

    @property
    def kafka(self) -> KafkaSettings:
        return self.stack.kafka

    def record(self, sent: Sent, *, tag: str) -> None:
        """Begin to note answers to queries of this tag."""
        self.tape = Tape(self.kafka, sent, tag=tag)
        self.tape.start()
        self._open.callback(self.tape.stop)

    def order(self, *orders: Order) -> None:
        """Write orders in the planner's place. Raises: TimeoutError if the cluster does not take them."""
        for order in orders:
            self._orders.produce(self.kafka.topic("scaling"), encode_order(order), key=order.key)
        if self._orders.flush(FLUSH_S):
            raise TimeoutError(f"orders were not taken within {FLUSH_S:g} s")


def follow(side: Side, plan: Fixed, *, epoch: int) -> bool:
    """Order a plan for the executors that are there; whether all of it is carried out. To be called until it is."""
    orders: list[Order] = [
        PoolOrder(pool=pool, epoch=epoch, machines=machines) for pool, machines in plan.machines.items()
    ]
    done = True
    heard = side.watch.executors()
    for pool, lanes in plan.lanes.items():
        mine = sorted(word.executor for word in heard if word.pool == pool)
        done = done and len(mine) >= len(lanes)
        orders += [executor_order(name, held, epoch=epoch) for name, held in zip(mine, lanes, strict=False)]
    side.order(*orders)
    wanted = {order.executor: order for order in orders if isinstance(order, ExecutorOrder)}
    return done and all(
        {lane.variant: lane.lanes for lane in word.lanes}
        == {lane.variant: lane.lanes for lane in wanted[word.executor].lanes}
        for word in heard if word.executor in wanted
    )  # fmt: skip
