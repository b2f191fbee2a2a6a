"""The three that `bench router` compares, each as a process: `python -m benchmarks.contestants KIND KAFKA N`."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from streams.settings import KafkaSettings

MARK = "figures: "  # before the JSON, since Faust writes terminal codes
WARM = 0.1  # share of the records before the measurement starts


class Meter:
    """Counts records; CPU and wall time between WARM and all of them. `add` may come from any one thread."""

    def __init__(self, total: int) -> None:
        self.total, self.count = total, 0
        self._from = int(total * WARM)
        self._start: tuple[float, float, int] | None = None
        self.done = threading.Event()
        self.figures: dict[str, float] = {}

    def add(self, n: int = 1) -> None:
        self.count += n
        if self._start is None and self.count >= self._from:
            self._start = (time.process_time(), time.perf_counter(), self.count)
        if self.count >= self.total and not self.done.is_set():
            assert self._start is not None
            cpu, wall, first = self._start
            measured = self.count - first
            self.figures = {
                "cpu_us": (time.process_time() - cpu) / measured * 1e6,
                "qps": measured / (time.perf_counter() - wall),
            }
            self.done.set()


def raw(kafka: KafkaSettings, total: int) -> dict[str, float]:
    """No framework: consume(1000), produce with the same headers, idempotent, linger.ms 1."""
    from confluent_kafka import Consumer, Producer

    consumer = Consumer(kafka.consumer(f"raw-{time.time_ns()}"))
    consumer.subscribe([kafka.topic("queries")])
    producer = Producer(kafka.producer(**{"linger.ms": 1, "queue.buffering.max.messages": 1_000_000}))
    meter = Meter(total)
    work = kafka.topic("work.cpu")
    while not meter.done.is_set():
        messages = consumer.consume(1_000, 0.1)
        for message in messages:
            producer.produce(work, message.value(), key=message.key(), headers=message.headers())
        producer.poll(0)
        meter.add(len(messages))
    producer.flush(30)
    consumer.close()
    return meter.figures


def router(kafka: KafkaSettings, total: int) -> dict[str, float]:
    """Ours, as shipped; only the acknowledgement is counted on its way to the reader."""
    from agents import state as state_module
    from agents.settings import RouterSettings
    from agents.worker import run
    from benchmarks.router import ROUTER
    from streams.observe import ObserveSettings
    from streams.reader import InFlight, Reader

    meter = Meter(total)

    class CountingReader(Reader):
        def finish_all(self, items: Sequence[InFlight]) -> None:
            super().finish_all(items)
            meter.add(len(items))

    setattr(state_module, "Reader", CountingReader)  # noqa: B010 (the shell names its reader once)
    state = state_module.RouterState(RouterSettings(instance=ROUTER), kafka, ObserveSettings())

    def watch() -> None:
        meter.done.wait()
        refused = sum(state.metrics.totals[outcome] for outcome in ("rejected", "expired", "failed", "dead-letter"))
        figures = {**meter.figures, "dispatched": meter.count - refused, "totals": dict(state.metrics.totals)}
        print(MARK + json.dumps(figures), flush=True)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    run(state, kafka)
    raise AssertionError("the router ended before its records did")


def stock(kafka: KafkaSettings, total: int) -> dict[str, float]:
    """A Faust agent as its documentation shows it: one record at a time, raw bytes, `await topic.send`."""
    import faust

    app = faust.App(
        f"stock-{time.time_ns()}", broker=f"kafka://{kafka.bootstrap}", store="memory://", web_enabled=False,
        topic_allow_declare=False, topic_disable_leader=True, consumer_auto_offset_reset="earliest",
    )  # fmt: skip
    raw_types: dict[str, Any] = {"value_type": bytes, "value_serializer": "raw"}
    queries = app.topic(kafka.topic("queries"), **raw_types)
    work = app.topic(kafka.topic("work.cpu"), **raw_types)
    meter = Meter(total)

    @app.agent(queries)
    async def forward(stream: Any) -> None:
        async for event in stream.events():
            await work.send(value=event.value, headers=event.headers)
            meter.add()

    def watch() -> None:
        meter.done.wait()
        print(MARK + json.dumps(meter.figures), flush=True)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    faust.Worker(
        app, override_logging=False, redirect_stdouts=False, quiet=True, loglevel="ERROR"
    ).execute_from_commandline()
    raise AssertionError("the stock agent ended before its records did")


def main() -> None:
    kind, kafka, total = sys.argv[1:4]
    logging.basicConfig(level=logging.WARNING)
    settings = KafkaSettings(**json.loads(kafka))
    figures = {"raw": raw, "router": router, "stock": stock}[kind](settings, int(total))
    print(MARK + json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
