"""How soon a threefold load is served: an emulated fleet on real Kafka, with forecaster, planner and provisioner.

40 queries/s, and from one second to the next 120; then five minutes in which orders should not turn round; then a task
that nothing is loaded for. HEADRACE_STEP_WATCH_S shortens the five minutes.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load import Answers, Load, Sent
from benchmarks.report import report
from headrace.fleet_file import read
from headrace.fleet_records import records_of
from headrace.settings import load
from headrace.stack import Stack
from simulator.scores import Second, recovered_s
from streams.payloads import encode_npy
from streams.scaling import ExecutorOrder, Order, PoolOrder, decode_order
from streams.settings import KafkaSettings
from streams.tail import Tail

FLEET = Path(__file__).with_name("step_fleet.toml")
LOW_QPS, HIGH_QPS, SLO_MS = 40.0, 120.0, 300.0
SETTLE_S, WATCH_S = 30.0, 300.0
COLD_QPS, COLD_S, COLD_SLO_MS, LOAD_S = 5.0, 12.0, 10_000.0, 2.0
ANSWERS_S = 12.0
VALUE = encode_npy(np.zeros(4, dtype=np.float32))


def run(kafka: KafkaSettings, *, watch_s: float = WATCH_S) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="headrace-step-") as folder, _stack(kafka, folder) as stack:
        stack.wait_ready()
        orders = Orders(stack.kafka)
        answers = Answers(stack.kafka)
        try:
            _send(stack.kafka, LOW_QPS, SETTLE_S, "labels", SLO_MS)
            orders.states()
            before = orders.counts()
            stepped = time.time()
            sent = _send(stack.kafka, HIGH_QPS, watch_s, "labels", SLO_MS)
            answers.wait_for(list(sent.at_us), ANSWERS_S)
            after = orders.states()
            cold = _send(stack.kafka, COLD_QPS, COLD_S, "rare", COLD_SLO_MS)
            answers.wait_for(list(cold.at_us), ANSWERS_S)
        finally:
            answers.stop()
            orders.close()
    seconds = by_second(sent, answers, stepped)
    return {
        "resident_s": recovered_s(seconds), "cold_extra_s": _first_ok_s(cold, answers),
        "reversals": reversals([before, *after]), "orders": len(after), "watched_s": watch_s,
        "violations": _missed(seconds), "violations_after_10_s": _missed([each for each in seconds if each.at_s >= 10]),
    }  # fmt: skip


def by_second(sent: Sent, answers: Answers, stepped: float) -> list[Second]:
    """Queries by the second after the step in which they were sent, and how many of them were `ok` within the SLO."""
    counts: dict[int, list[int]] = {}
    for name, at_us in sent.at_us.items():
        count = counts.setdefault(int(at_us / 1e6 - stepped), [0, 0])
        got = answers.by_id.get(name)
        count[0] += 1
        count[1] += bool(got and got[0].answer.outcome == "ok" and got[0].at_us - at_us <= SLO_MS * 1_000)
    return [Second(at_s, *count) for at_s, count in sorted(counts.items())]


def _missed(seconds: Sequence[Second]) -> float:
    """The share of the queries that were not answered in time."""
    return round(1 - sum(each.in_time for each in seconds) / max(1, sum(each.sent for each in seconds)), 5)


def reversals(states: Iterable[dict[str, int]]) -> int:
    """How often a count turns round, over pools and variants: up and then down, or down and then up."""
    last: dict[str, int] | None = None
    direction: dict[str, int] = {}
    turns = 0
    for state in states:
        for name in state.keys() | last.keys() if last is not None else ():
            change = state.get(name, 0) - last.get(name, 0) if last is not None else 0
            if change:
                turns += direction.get(name, 0) * change < 0
                direction[name] = 1 if change > 0 else -1
        last = state
    return turns


class Orders:
    """What stands on `scaling`: machines by pool and lanes by variant, over the fleet."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._tail = Tail(kafka, "scaling", since_ms=0)
        self._standing: dict[str, Order] = {}

    def states(self) -> list[dict[str, int]]:
        """What stood after each epoch since the last call."""
        messages = self._tail.listen(0.5)
        while more := self._tail.listen(0.2):
            messages += more
        found: dict[int, dict[str, int]] = {}
        for message in messages:
            key = bytes(message.key() or b"").decode()
            self._standing.pop(key, None)
            if message.value() is not None:
                order = self._standing[key] = decode_order(message.value() or b"")
                found[order.epoch] = self.counts()
        return [found[epoch] for epoch in sorted(found)]

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for order in self._standing.values():
            if isinstance(order, PoolOrder):
                counts[order.key] = order.machines
            elif isinstance(order, ExecutorOrder):
                for lane in order.lanes:
                    counts[lane.variant] = counts.get(lane.variant, 0) + lane.lanes
        return counts

    def close(self) -> None:
        self._tail.close()


def _first_ok_s(cold: Sent, answers: Answers) -> float | None:
    """From the first query of the cold task to its first `ok` answer, without the time that loading takes."""
    ok_us = [
        got[0].at_us for name in cold.at_us if (got := answers.by_id.get(name)) and got[0].answer.outcome == "ok"
    ]  # fmt: skip
    return round((min(ok_us) - min(cold.at_us.values())) / 1e6 - LOAD_S, 2) if ok_us else None


def _send(kafka: KafkaSettings, rate_qps: float, seconds: float, task: str, slo_ms: float) -> Sent:
    headers: list[tuple[str, str | bytes]] = [
        ("task", task), ("slo-ms", f"{slo_ms:g}"), ("content-type", "application/x-npy")
    ]  # fmt: skip
    return Load(kafka, lambda _n: (VALUE, headers), reply_partition=0).send(rate_qps=rate_qps, seconds=seconds)


def _stack(kafka: KafkaSettings, folder: str) -> Stack:
    fleet = read(FLEET)
    flags = fleet.flags(control=True)
    own = {
        "kafka": {"bootstrap": kafka.bootstrap, "prefix": f"bench-step-{time.time_ns():x}."},
        "up": {"state": folder}, "planner": {"warm": "never"}, "forecaster": {"folder": f"{folder}/forecaster"},
        "provisioner": {"logs": f"{folder}/machines"},
    }  # fmt: skip
    loaded = load(flags={section: {**flags.get(section, {}), **own.get(section, {})} for section in flags | own})
    return Stack(loaded, config=None, fleet=fleet, records=records_of(fleet), tell=lambda _line: None)


def main(*, as_json: bool) -> None:
    watch_s = float(os.environ.get("HEADRACE_STEP_WATCH_S", WATCH_S))
    report("step", lambda kafka, _broker: run(kafka, watch_s=watch_s), as_json=as_json)
