"""Faults under load: what is lost, doubled or late when processes die. The fault tests run the same scenarios.

Every scenario runs 300 queries/s of mixed SLOs against two executors and one router on a real broker, does its
harm, and waits for every answer. Stub models, because the subject is the path of a query, not the model.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.load import Answers, Load, Sent, tally
from benchmarks.report import report
from benchmarks.stubs import stub_task
from benchmarks.system import System
from registry.latency import Point
from registry.records import Model, Profile, Record, Step
from streams.broker import LocalBroker
from streams.payloads import encode_npy
from streams.settings import KafkaSettings

RATE_QPS = 300.0
BEFORE_S, AFTER_S = 3.0, 6.0  # of load on both sides of the harm
ANSWER_S = 30.0  # then every query must have its answer
VALUE_MAX = 20_000  # bytes; small, so that a wide result is too large
WIDE = 2_000  # classes of the task whose result is too large


class Harm(NamedTuple):
    """When the harm was done, wall clock seconds; `kills` says whether an executor died."""

    start: float
    kills: bool = False


class Result(NamedTuple):
    """What one scenario did to its queries.

    Units: `expired_late_ms_max` from the deadline to the moment that the answer was written, both on the executor.
    """

    scenario: str
    sent: int
    answered: int
    lost: int
    unmarked_duplicates: int
    outcomes: dict[str, int]
    expired_late_ms_max: float
    takeover_s: float


def records() -> list[Record]:
    """An ordinary task, one whose result is larger than VALUE_MAX, and one that takes far longer than its profile."""
    wide = stub_task("wide", fixed_ms=1.0, batch_max=4)
    wide = [_widened(r) if isinstance(r, Model) else r for r in wide]
    liar = [_optimistic(r) if isinstance(r, Profile) else r for r in stub_task("liar", fixed_ms=1_500.0, batch_max=1)]
    return [*stub_task("echo", fixed_ms=4.0, per_item_ms=0.5, batch_max=32), *wide, *liar]


def _widened(model: Model) -> Model:
    labels = tuple(f"label-{i:06}" for i in range(WIDE))
    return msgspec.structs.replace(model, labels=labels, postprocess=Step(name="top-k", params={"k": WIDE}))


def _optimistic(profile: Profile) -> Profile:
    """A profile that promises 5 ms, so that deadlines pass while the device is busy."""
    return msgspec.structs.replace(profile, points=(Point(batch=1, p50_us=5_000, p99_us=5_000),))


def query(n: int) -> tuple[bytes, list[tuple[str, str | bytes]]]:
    """Mixed SLOs; every 20th query is of some hostile kind."""
    headers: list[tuple[str, str | bytes]] = [("task", "echo"), ("content-type", "application/x-npy")]
    value = _item(n % 2)
    match n % 10:
        case 0:
            pass  # best effort
        case 1 | 2 | 3:
            headers.append(("slo-ms", "250"))
        case _:
            headers.append(("slo-ms", "1000"))
    match n % 100:
        case 15:
            value = b"\x93NUMPY this is no array"
        case 35:
            value = _item(-1.0)  # the model raises
        case 55:
            headers[0] = ("task", "wide")  # the result is too large
        case 75:
            headers.append(("accuracy-min", b"\xff\xfe"))
        case 95:
            headers.append(("reply-topic", "nowhere"))
        case 45 if n % 1_000 == 45:
            headers[0] = ("task", "liar")
        case _:
            pass
    return value, headers


def _item(first: float) -> bytes:
    return encode_npy(np.array([first, 0, 0, 0], dtype=np.float32))


def kill_executor(system: System, _broker: LocalBroker) -> Harm:
    start = time.time()
    system.kill("executor-0")
    time.sleep(1.0)
    system.start("executor-0")
    return Harm(start, kills=True)


def kill_router(system: System, _broker: LocalBroker) -> Harm:
    start = time.time()
    system.kill("router-0")
    system.start("router-0")
    return Harm(start)


def kill_both(system: System, _broker: LocalBroker) -> Harm:
    start = time.time()
    system.kill("executor-0")
    system.kill("router-0")
    system.start("router-0")
    system.start("executor-0")
    return Harm(start, kills=True)


def term_executor(system: System, _broker: LocalBroker) -> Harm:
    start = time.time()
    system.term("executor-0")
    system.start("executor-0")
    return Harm(start)


def term_router(system: System, _broker: LocalBroker) -> Harm:
    start = time.time()
    system.term("router-0")
    system.start("router-0")
    return Harm(start)


def join_and_leave(system: System, _broker: LocalBroker) -> Harm:
    start = time.time()
    system.start("executor-2", cores=1)
    time.sleep(4.0)
    system.term("executor-2")
    return Harm(start)


def broker_restart(_system: System, broker: LocalBroker) -> Harm:
    start = time.time()
    broker.restart()
    return Harm(start)


def stop_and_continue(system: System, _broker: LocalBroker) -> Harm:
    """An executor that freezes for longer than its session and comes back is a zombie for a moment."""
    start = time.time()
    system.signal("executor-0", signal.SIGSTOP)
    time.sleep(4.5)
    system.signal("executor-0", signal.SIGCONT)
    return Harm(start, kills=True)


SCENARIOS: dict[str, Callable[[System, LocalBroker], Harm]] = {
    "kill-executor": kill_executor,
    "kill-router": kill_router,
    "kill-both": kill_both,
    "term-executor": term_executor,
    "term-router": term_router,
    "join-and-leave": join_and_leave,
    "stop-and-continue": stop_and_continue,
    "broker-restart": broker_restart,
}


def run_scenario(
    name: str, system: System, broker: LocalBroker, *, rate_qps: float = RATE_QPS, seed: int = 1
) -> Result:
    """Load, harm, load, and wait for the answers. The system must be ready; it is left running."""
    answers = Answers(system.kafka)
    load = Load(system.kafka, query, reply_partition=0, seed=seed)
    sent: list[Sent] = []
    sender = threading.Thread(target=lambda: sent.append(load.send(rate_qps=rate_qps, seconds=BEFORE_S + AFTER_S)))
    try:
        sender.start()
        time.sleep(BEFORE_S)
        harm = SCENARIOS[name](system, broker)
        sender.join()
        at_us = sent[0].at_us
        for _ in range(3):  # the same id three times
            load.repeat(next(iter(at_us)))
        load.flush()
        answers.wait_for(list(at_us), ANSWER_S)
        time.sleep(1.0)  # for late copies
        return _judge(name, sent[0], answers, harm)
    finally:
        answers.stop()


def _judge(name: str, sent: Sent, answers: Answers, harm: Harm) -> Result:
    counted = tally(sent, answers)
    takeover = late = 0.0
    start_us = harm.start * 1e6
    for query_id, at_us in sent.at_us.items():
        got = answers.by_id.get(query_id)
        if not got:
            continue
        if harm.kills and start_us - 500_000 <= at_us <= start_us:
            takeover = max(takeover, (got[0].at_us - start_us) / 1e6)
        slo_s = {1: 0.25, 2: 0.25, 3: 0.25, 0: None}.get(int(query_id.rpartition("-")[2]) % 10, 1.0)
        undisturbed = slo_s is not None and at_us + slo_s * 1e6 < start_us  # before the harm, every process lived
        if undisturbed and slo_s is not None and got[0].answer.outcome == "expired":
            late = max(late, got[0].answer.latency_us / 1_000 - slo_s * 1_000)
    return Result(
        name, counted.sent, counted.answered, counted.lost, counted.unmarked_duplicates, counted.outcomes,
        round(late, 1), round(takeover, 2),
    )  # fmt: skip


def run(kafka: KafkaSettings, broker: LocalBroker, names: Iterable[str] = tuple(SCENARIOS)) -> dict[str, Any]:
    """All scenarios one after the other on one system."""
    with faulty_system(kafka) as system:
        results = [run_scenario(name, system, broker, seed=seed) for seed, name in enumerate(names)]
    return {
        "sent": sum(r.sent for r in results),
        "answered": sum(r.answered for r in results),
        "lost": sum(r.lost for r in results),
        "unmarked_duplicates": sum(r.unmarked_duplicates for r in results),
        "expired_late_ms_max": max(r.expired_late_ms_max for r in results),
        "takeover_s_max": max(r.takeover_s for r in results),
        "scenarios": [{**r._asdict(), "outcomes": {str(k): v for k, v in r.outcomes.items()}} for r in results],
    }


@contextmanager
def faulty_system(kafka: KafkaSettings) -> Iterator[System]:
    """One router and two executors of one core, ready."""
    own = kafka.model_copy(update={"prefix": f"bench-faults-{time.time_ns():x}.", "value_max_bytes": VALUE_MAX})
    with System(own, records()) as system:
        system.start("router-0")
        system.start("executor-0", cores=1)
        system.start("executor-1", cores=1)
        system.wait_ready(2, query)
        yield system


def main(*, as_json: bool) -> None:
    report("faults", run, as_json=as_json)
