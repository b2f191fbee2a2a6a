"""The same queries to every side at once, open loop, and what became of them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from confluent_kafka import Producer

from headrace.scenario.side import Side
from headrace.scenario.tape import REPLY_PARTITION, Sent
from headrace.scenario.watch import Sample
from simulator.loads import Ask, Scene
from simulator.scores import Answered, Score, jump_s, score
from streams.clock import wall_us
from streams.payloads import encode_npy
from streams.rdlog import log as rdkafka
from streams.settings import KafkaSettings

LAST_ANSWERS_S = 15.0
FLUSH_S = 30.0
TURN_S = 0.25

Headers = list[tuple[str, str | bytes]]


class Ran(NamedTuple):
    """A run. `began_us`: wall clock of the load's beginning; `came` (seconds, classes): queries sent; by side's name
    the scores, answers and samples. `behind_s`: how far the sender fell behind its own schedule at worst.
    """

    scene: Scene
    began_us: int
    came: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    scores: dict[str, Score]
    answered: dict[str, Answered]
    samples: dict[str, list[Sample]]
    behind_s: float


def race(
    scene: Scene, sides: Sequence[Side], *, seed: int, turn: Callable[[float], None] = lambda _at_s: None,
    value: bytes | None = None,
) -> Ran:  # fmt: skip
    """Send the scene to all sides, which are up, and count.

    turn:  called some times a second with the seconds since the beginning, from this thread: it must be quick.
    value: payload of every query; None: four zeros.
    """
    instants = list(scene.arrivals(np.random.default_rng(seed)))
    sent, tag = Sent(len(instants)), secrets.token_hex(4)
    for side in sides:
        side.record(sent, tag=tag)
    began_us, behind_s = _send(
        instants, scene.asks, sides, sent, tag, value or encode_npy(np.zeros(4, np.float32)), turn
    )
    end = time.monotonic() + LAST_ANSWERS_S
    while any(side.tape.answered < sent.count for side in sides) and time.monotonic() < end:
        turn(scene.seconds)
        time.sleep(TURN_S)
    at_s = np.array([at for at, _ in instants])
    kind = np.array([each for _, each in instants], dtype=np.int64)
    came = np.zeros(scene.qps.shape)
    np.add.at(came, (at_s.astype(np.int64), kind), 1.0)
    answered = {
        side.name: Answered(at_s=at_s, kind=kind, took_us=side.tape.took_us.copy(), accuracy=side.tape.accuracy.copy())
        for side in sides
    }
    samples = {
        side.name: [sample for sample in side.watch.samples if began_us <= sample.at_us]
        [: scene.seconds] for side in sides
    }  # fmt: skip
    jump = jump_s(scene.total)
    return Ran(
        scene=scene, began_us=began_us, came=came, answered=answered, samples=samples, behind_s=behind_s,
        scores={
            side.name: score(
                side.name, answered[side.name], scene.asks, [each.machines for each in samples[side.name]], side.sizes,
                jump_s=jump,
            )
            for side in sides
        },
    )  # fmt: skip


def headers_of(ask: Ask) -> Headers:
    asked: Mapping[str, object | None] = {
        "task": ask.task, "slo-ms": ask.slo_ms, "accuracy-min": ask.accuracy_min, "priority": ask.priority
    }  # fmt: skip
    return [
        (name, f"{value:g}" if isinstance(value, float) else str(value))
        for name, value in asked.items()
        if value is not None
    ]


def _send(
    instants: Sequence[tuple[float, int]], asks: Sequence[Ask], sides: Sequence[Side], sent: Sent, tag: str,
    value: bytes, turn: Callable[[float], None],
) -> tuple[int, float]:  # fmt: skip
    """When it began, and how far it was behind at worst."""
    more: Headers = [("reply-partition", str(REPLY_PARTITION)), ("content-type", "application/x-npy")]
    headers = [[*headers_of(ask), *more] for ask in asks]
    outs = [(_producer(side.kafka), side.kafka.topic("queries")) for side in sides]
    behind, turned = 0.0, 0.0
    began_us, start = wall_us(), time.monotonic()
    for number, (due_s, kind) in enumerate(instants):
        while (wait := start + due_s - time.monotonic()) > 0:
            time.sleep(min(wait, TURN_S))
            if due_s - turned >= TURN_S:
                turned = time.monotonic() - start
                turn(turned)
        behind = max(behind, -wait)
        name = f"{tag}-{number}"
        sent.kind[number] = kind
        sent.at_us[number] = wall_us()
        sent.count = number + 1
        for producer, topic in outs:
            producer.produce(topic, value, key=name, headers=[("query-id", name), *headers[kind]])
            producer.poll(0)
    for producer, _ in outs:
        producer.flush(FLUSH_S)
    return began_us, behind


def _producer(kafka: KafkaSettings) -> Producer:
    return Producer(kafka.producer(), logger=rdkafka)
