"""Reading what is to be explained: `plans`, `decisions`, and the answers, from as far back as they are kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import ClassVar

import msgspec
from confluent_kafka import KafkaException, Message

from headrace.listen import Ear
from registry import topic
from registry.catalog import Catalog
from streams.answers import read_answer
from streams.clock import wall_us
from streams.decisions import Decision, decode_decision
from streams.errors import BadRecord, ClientFault, Unreachable
from streams.plans import PlanRecord, decode_plan
from streams.records import Answer
from streams.settings import KafkaSettings
from streams.tail import Tail

HEAR_S = 1.5
READ_S = 60.0  # at most, to the end of a topic
REPLY_BACK_US = 3_600_000_000  # how far back an answer is looked for that no decision dates
COPIES_MAX = 100  # answers of one id that are kept


class NotKept(ClientFault):
    """What is to be explained does not stand on its topic, or no longer; the message says what does."""

    code: ClassVar[str] = "not_kept"


def plan(kafka: KafkaSettings, epoch: int | None) -> PlanRecord:
    """The plan of an epoch, or the newest.

    Raises: NotKept, BadRecord, Unreachable.
    """
    epochs: set[int] = set()
    found: bytes | None = None
    unreadable = 0
    for message in _records(kafka, "plans", since_ms=0):
        try:
            number = int(message.key() or b"")
        except ValueError:
            unreadable += 1
            continue
        if number == epoch or (epoch is None and number >= max(epochs, default=0)):
            found = message.value()
        epochs.add(number)
    if found is None:
        raise NotKept(_missing(epochs, epoch, unreadable) + _planners(kafka))
    try:
        return decode_plan(found)
    except msgspec.MsgspecError as foreign:
        raise BadRecord(f"plan {epoch or max(epochs)} is of another version: {foreign}") from foreign


def registry(kafka: KafkaSettings) -> Catalog:
    """As it is now. Raises: Unreachable."""
    return topic.read(kafka)


def planner_leads(kafka: KafkaSettings) -> bool:
    """Whether a planner is heard that leads, or would soon. Raises: Unreachable."""
    with Ear(kafka) as ear:
        return bool(ear.listen(HEAR_S).planners)


def decisions(kafka: KafkaSettings, query_id: str) -> list[Decision]:
    """What routers said of one query, in the order of its looks.

    Raises: BadRecord, Unreachable.
    """
    key, found = query_id.encode(), []
    for message in _records(kafka, "decisions", since_ms=0):
        if message.key() != key:
            continue
        try:
            found.append(decode_decision(message.value() or b""))
        except msgspec.MsgspecError as foreign:
            raise BadRecord(f"the decision on {query_id} is of another version: {foreign}") from foreign
    return sorted(found, key=lambda each: each.at_us)


def answers(kafka: KafkaSettings, query_id: str, *, reply_topic: str = "", since_us: int | None = None) -> list[Answer]:
    """Every copy of a query's answer on its reply topic, the first first.

    Units:  `since_us` since the epoch; None: an hour ago.
    Raises: Unreachable.
    """
    name = reply_topic or kafka.topic("results")
    if not name.startswith(kafka.prefix):
        return []
    key = query_id.encode()
    found: list[tuple[int, Answer]] = []
    since_us = wall_us() - REPLY_BACK_US if since_us is None else since_us
    for message in _records(kafka, name.removeprefix(kafka.prefix), since_ms=since_us // 1_000):
        if message.key() == key and len(found) < COPIES_MAX:
            try:
                answer = read_answer(message.headers() or [], message.value(), topic=name)  # type: ignore[arg-type]
            except ValueError:  # somebody else's record under the same key
                continue
            found.append((message.timestamp()[1], answer))
    return [answer for _, answer in sorted(found, key=lambda each: each[0])]


def _records(kafka: KafkaSettings, name: str, *, since_ms: int) -> Iterator[Message]:
    """What stands on a topic now. Raises: Unreachable."""
    end_ms = wall_us() // 1_000
    give_up = time.monotonic() + READ_S
    try:
        tail = Tail(kafka, name, since_ms=since_ms)
    except KafkaException as silent:
        raise Unreachable(
            f"{kafka.topic(name)} at {kafka.bootstrap} cannot be read: {silent.args[0].str()}"
        ) from silent
    try:
        while True:
            heard = tail.listen(0.2)
            yield from heard
            if not heard and tail.reached(end_ms):
                return
            if time.monotonic() > give_up:
                raise Unreachable(f"{kafka.topic(name)} at {kafka.bootstrap} was not read to its end in {READ_S:g} s")
    finally:
        tail.close()


def _missing(epochs: set[int], epoch: int | None, unreadable: int) -> str:
    if epochs:
        return f"no plan has epoch {epoch}; there are {len(epochs)}, from {min(epochs)} to {max(epochs)}"
    more = f" ({unreadable} records are none)" if unreadable else ""
    return f"no plan was made in the last day{more}"


def _planners(kafka: KafkaSettings) -> str:
    if planner_leads(kafka):
        return ""
    return "; no planner is heard: start one with `headrace planner`, or all of it with `headrace up --control`"
