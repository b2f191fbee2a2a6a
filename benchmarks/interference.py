"""What a competing load costs when it slows one of two executors three times, with the live correction and without.

Router, executors and Kafka are real. The competing load is emulated: the model is a stub that sleeps 10 + 3 b ms, and
while a file exists the stub of one executor sleeps three times as long. A real load beside it would slow the other
executor, the broker and the router too on a machine of few cores, and nothing could be told apart.

`detect_s` is from the slowing until half a second begins in which at most a tenth of the queries go to the slow
executor, half of them before; `return_s` from its end until it gets a quarter of them again. A violation is a query
sent while it is slowed that was not answered in time.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from benchmarks.load import Answers, Load, Sent, tally
from benchmarks.report import report
from benchmarks.stubs import stub_task
from benchmarks.system import System
from executors.backends.protocol import Array
from executors.backends.stub import Stub
from streams.clock import wall_us
from streams.payloads import encode_npy
from streams.settings import KafkaSettings
from streams.watermark import end_offset

RATE_QPS, SLO_MS = 120.0, 80.0  # one executor alone could carry nearly twice the rate
FIXED_MS, PER_ITEM_MS, BATCH_MAX = 10.0, 3.0, 32
TIMES = 3.0
WELL_S, SLOW_S, AFTER_S = 4.0, 10.0, 8.0
SETTLE_S = 1.5
WINDOW_S, AWAY, BACK = 0.5, 0.1, 0.25
VALUE = encode_npy(np.zeros(4, dtype=np.float32))
HEADERS: list[tuple[str, str | bytes]] = [
    ("task", "slow"), ("slo-ms", f"{SLO_MS:g}"), ("content-type", "application/x-npy"),
]  # fmt: skip


class Seen(NamedTuple):
    """One trial. Units: seconds; None where it did not happen."""

    detect_s: float | None
    return_s: float | None
    violations: int
    violations_before: int
    queries: int


def run(
    kafka: KafkaSettings, *, well_s: float = WELL_S, slow_s: float = SLOW_S, after_s: float = AFTER_S
) -> dict[str, Any]:
    kafka = kafka.model_copy(update={"prefix": f"bench-interference-{wall_us():x}."})
    task = stub_task("slow", fixed_ms=FIXED_MS, per_item_ms=PER_ITEM_MS, batch_max=BATCH_MAX)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, System(kafka, task) as system:
        switch = Path(folder) / "slow"
        system.start("executor-0", instance="well", cores=1)
        system.start("interfered-0", instance="slowed", cores=1, switch=str(switch))
        for name, live in (("without", False), ("with", True)):
            system.start("router-0", live_correction=live)
            system.wait_ready(2, _query)
            slots = system.fleet(0.5)["slowed"].slots
            seen = _trial(kafka, switch, min(slots), (well_s, slow_s, after_s))
            system.term("router-0")
            figures |= {f"violations_{name}": seen.violations, f"violations_before_{name}": seen.violations_before}
            if live:
                figures |= {"detect_s": seen.detect_s, "return_s": seen.return_s, "queries_slowed": seen.queries}
            else:
                figures["routed_around_without"] = seen.detect_s is not None
    return figures


def _trial(kafka: KafkaSettings, switch: Path, slot: int, parts_s: tuple[float, float, float]) -> Seen:
    well_s, slow_s, after_s = parts_s
    answers = Answers(kafka)
    switched_us: list[int] = []

    def interfere() -> None:
        time.sleep(well_s)
        switch.touch()
        switched_us.append(wall_us())
        time.sleep(slow_s)
        switch.unlink()
        switched_us.append(wall_us())

    competing = threading.Thread(target=interfere)
    try:
        load = Load(kafka, _query, reply_partition=0)
        competing.start()
        sent = load.send(rate_qps=RATE_QPS, seconds=well_s + slow_s + after_s)
        competing.join()
        answers.wait_for(list(sent.at_us), 5.0)
        time.sleep(SETTLE_S)
    finally:
        competing.join()
        answers.stop()
    slowed, well = switched_us
    during = _between(sent, slowed, well)
    before = tally(_between(sent, 0, slowed), answers, slo_ms=SLO_MS)
    counted = tally(during, answers, slo_ms=SLO_MS)
    sent_us, there = _dispatched(kafka, slot, since_us=min(sent.at_us.values()))
    return Seen(
        detect_s=_first(sent_us, there, from_us=slowed, until_us=well, low=0.0, high=AWAY),
        return_s=_first(sent_us, there, from_us=well, until_us=int(sent_us[-1]), low=BACK, high=1.0),
        violations=counted.sent - counted.in_time,
        violations_before=before.sent - before.in_time,
        queries=counted.sent,
    )


def _between(sent: Sent, from_us: int, until_us: int) -> Sent:
    return Sent({name: at_us for name, at_us in sent.at_us.items() if from_us <= at_us < until_us}, sent.behind_s)


def _dispatched(kafka: KafkaSettings, slot: int, *, since_us: int) -> tuple[Array, Array]:
    """When each query was dispatched, and whether to the executor that owns `slot`; as the work topic tells."""
    topic = kafka.topic("work.cpu")
    consumer = Consumer(kafka.observer())
    try:
        ends = {p: end_offset(consumer, topic, p, timeout_s=10) for p in range(kafka.slots)}
        consumer.assign([TopicPartition(topic, p, 0) for p, end in ends.items() if end])
        rows: list[tuple[int, bool]] = []
        left = sum(ends.values())
        while left:
            messages = consumer.consume(min(left, 1_000), 5.0)
            if not messages:
                raise RuntimeError(f"{left} records of {topic} were not read within 5 s")
            left -= len(messages)
            rows += [(message.timestamp()[1] * 1_000, message.partition() == slot) for message in messages]
    finally:
        consumer.close()
    rows = sorted(row for row in rows if row[0] >= since_us)
    return np.array([at for at, _ in rows]), np.array([there for _, there in rows])


def _first(sent_us: Array, there: Array, *, from_us: int, until_us: int, low: float, high: float) -> float | None:
    """Seconds from `from_us` until a window begins in which the share of queries `there` is within `low` and `high`."""
    for at_us in range(from_us, until_us - round(WINDOW_S * 1e6) + 1, 50_000):
        window = there[(sent_us >= at_us) & (sent_us < at_us + WINDOW_S * 1e6)]
        if len(window) and low <= float(window.mean()) <= high:
            return round((at_us - from_us) / 1e6, 2)
    return None


def interfere(switch: Path) -> None:
    """In this process, let every stub sleep TIMES as long while `switch` exists."""
    run = Stub.run

    def slowed(self: Stub, batch: Array) -> Array:
        begun = time.perf_counter()
        slow = switch.exists()
        rows = run(self, batch)
        if slow:
            time.sleep((TIMES - 1) * (time.perf_counter() - begun))
        return rows

    setattr(Stub, "run", slowed)  # noqa: B010 (a method)


def _query(_n: int) -> tuple[bytes, list[tuple[str, str | bytes]]]:
    return VALUE, HEADERS


def main(*, as_json: bool) -> None:
    report("interference", lambda kafka, _broker: run(kafka), as_json=as_json)
