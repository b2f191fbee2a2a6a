"""What a canary and the stable version did on the same traffic: read from the topics, and asked again.

Nothing is measured on the way of a query. Answers say which variant gave them, and `queries` keeps the payloads; so
an observer reads the answers since the trial began, and lets the stable version answer a sample of the canary's
queries once more, as offline queries of its own. How much is read and asked is bounded below.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from agents.lots import Canary, drawn
from registry import topic
from registry.catalog import Catalog
from registry.lifecycle import ReleaseRefused
from registry.lifecycle_compare import Comparison, Seen, compare, served
from registry.records import Release
from streams.answers import read_answer
from streams.asking import Asked
from streams.client import Client
from streams.clock import to_ms, wall_us
from streams.contract import CLAIM, Outcome
from streams.errors import HeadraceError, Unreachable
from streams.query import Query, QueryReader
from streams.rdlog import log as rdkafka
from streams.records import Answer
from streams.reply import Reply
from streams.settings import KafkaSettings
from streams.watermark import end_offset

log = logging.getLogger(__name__)

WINDOW_S = 3_600.0  # of the trial that is looked at
RECORDS_MAX = 200_000  # read of the answers, and as many of the queries
READ_S = 60.0
LATENCIES_MAX = 20_000  # kept of each version
SAMPLE = 200  # answers of the canary that the stable version is asked for
ANSWER_S = 60.0  # for those
OURS = "compare-"  # begins the ids of our own queries
REQUEST_S = 10.0
TOLERANCE = 0.01  # of outputs without labels, relative


class Told(NamedTuple):
    """The answers of the trial, by version, and a sample of the canary's."""

    seen: dict[str, Tally]
    sample: dict[str, Answer]  # by query id


class Tally:
    """Counts one version's answers. Units: ms."""

    def __init__(self) -> None:
        self.ok = self.errors = 0
        self.latency_ms: list[float] = []
        self.seconds: list[int] = []
        self.by_variant: Counter[str] = Counter()  # of the answers that were ok

    def count(self, answer: Answer, second: int) -> None:
        if answer.outcome is Outcome.OK:
            self.ok += 1
            self.by_variant[answer.variant or ""] += 1
            if len(self.latency_ms) < LATENCIES_MAX:
                self.latency_ms.append(to_ms(answer.latency_us))
                self.seconds.append(second)
        elif answer.outcome in (Outcome.FAILED, Outcome.EXPIRED):
            self.errors += 1


class Payload(NamedTuple):
    """A query of the sample as it came."""

    value: bytes
    content_type: str


def trial(kafka: KafkaSettings, name: str, *, sample: int = SAMPLE, seed: int = 1) -> Comparison:
    """Compare a model's canary with its stable version, on what was asked since the canary began.

    Raises: ReleaseRefused if there is no canary; Unreachable.
    """
    catalog = topic.read(kafka)
    release = catalog.releases.get(name)
    if release is None or not release.canary:
        raise ReleaseRefused(f"{name} has no canary; `headrace model canary {name} VERSION --share 0.1` begins one")
    since_ms = _since_ms(catalog, release)
    told = _answers(kafka, catalog, release, since_ms, sample=sample, seed=seed)
    payloads = _payloads(kafka, told.sample, since_ms)
    same, asked = _ask_stable(kafka, catalog, release, told.sample, payloads)
    stable, canary = (_seen(catalog, name, version, told.seen) for version in (release.stable, release.canary))
    return compare(name, stable, canary, same=same, asked=asked)


def agree(one: Reply, other: Reply) -> bool:
    """Whether two answers say the same: the best label; without labels every output within the tolerance."""
    if one.labels or other.labels:
        return one.labels[:1] == other.labels[:1]
    a, b = one.outputs, other.outputs
    return a.keys() == b.keys() and all(_close(a[name], b[name]) for name in a)


def _close(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) and bool(np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE))


def _since_ms(catalog: Catalog, release: Release) -> int:
    """When this canary began, by the first event that has it, or the window's length ago."""
    began = [
        event.at for event in catalog.versions.history(release.model) if event.canary == release.canary and event.at
    ]
    earliest_ms = wall_us() // 1_000 - round(WINDOW_S * 1_000)
    return max(earliest_ms, round(datetime.fromisoformat(began[0]).timestamp() * 1_000)) if began else earliest_ms


def _answers(
    kafka: KafkaSettings, catalog: Catalog, release: Release, since_ms: int, *, sample: int, seed: int
) -> Told:
    """Every first answer of the model's two versions; the sample is drawn evenly from the canary's (algorithm R)."""
    version_of = {
        name: catalog.versions.version_of(variant)
        for name, variant in catalog.variants.items()
        if variant.model == release.model
    }
    rng = np.random.default_rng(seed)
    told = Told({release.stable: Tally(), release.canary: Tally()}, {})
    known: set[str] = set()
    kept: list[str] = []
    counted = 0
    for message in _records(kafka, kafka.reply_topics, since_ms):
        try:
            answer = read_answer(_headers(message), message.value(), topic=message.topic() or "")
        except ValueError:
            continue  # not an answer: reply topics belong to users
        version = version_of.get(answer.variant or "")
        if version not in told.seen or answer.query_id in known or answer.query_id.startswith(OURS):
            continue
        known.add(answer.query_id)
        told.seen[version].count(answer, message.timestamp()[1] // 1_000)
        if version == release.canary and answer.outcome is Outcome.OK and answer.claim is None:
            counted += 1
            at = len(kept) if len(kept) < sample else int(rng.integers(counted))
            if at < sample:
                if at < len(kept):
                    del told.sample[kept[at]]
                    kept[at] = answer.query_id
                else:
                    kept.append(answer.query_id)
                told.sample[answer.query_id] = answer
    return told


def _payloads(kafka: KafkaSettings, wanted: Mapping[str, Answer], since_ms: int) -> dict[str, Payload]:
    """The payloads of these queries, from the topic; not those in the store, nor those that the topic has dropped."""
    found: dict[str, Payload] = {}
    reader, queries = QueryReader(), kafka.topic("queries")
    if not wanted:
        return found
    for message in _records(kafka, ("queries",), since_ms):
        headers, value = _headers(message), message.value()
        if not value or any(header == CLAIM for header, _ in headers):
            continue
        fallback_id = f"{queries}-{message.partition()}-{message.offset()}"
        read = reader.read(headers, fallback_id=fallback_id, timestamp_ms=message.timestamp()[1], has_value=True)
        if isinstance(read, Query) and read.query_id in wanted and read.requirements.content_type is not None:
            found[read.query_id] = Payload(value, read.requirements.content_type)
            if len(found) == len(wanted):
                break
    return found


def _ask_stable(
    kafka: KafkaSettings,
    catalog: Catalog,
    release: Release,
    sample: Mapping[str, Answer],
    payloads: Mapping[str, Payload],
) -> tuple[int, int]:
    """How many of the canary's answers the stable version gives too, and of how many.

    The queries have ids that draw the stable version, and priority 0: they run where a machine would idle.
    """
    canary = Canary(release.model, release.canary, release.share)
    same = asked = 0
    with Client(kafka, in_flight_max=max(1, len(payloads))) as client:
        sent = {}
        for query_id, payload in payloads.items():
            what: Asked = {"model": release.model, "content_type": payload.content_type, "priority": 0,
                           "slo_ms": ANSWER_S * 1_000, "query_id": _stable_id(canary)}  # fmt: skip
            try:
                sent[client.submit(payload.value, **what)] = query_id
            except HeadraceError as refused:
                log.info("not asked again", extra={"query": query_id, "error": refused.message})
        end = time.monotonic() + ANSWER_S
        for pending, query_id in sent.items():
            try:
                reply = pending.result(max(0.1, end - time.monotonic()))
            except (TimeoutError, HeadraceError):
                continue
            variant = catalog.variants.get(reply.variant or "")
            if reply.ok and variant is not None and catalog.versions.version_of(variant) == release.stable:
                asked += 1
                same += agree(reply, Reply(sample[query_id]))
    return same, asked


def _stable_id(canary: Canary) -> str:
    """A query id whose lot is the stable version; a canary has half of them at most."""
    while drawn(fresh := OURS + secrets.token_hex(8), [canary]):
        pass
    return fresh


def _seen(catalog: Catalog, model: str, version: str, seen: Mapping[str, Tally]) -> Seen:
    tally = seen[version]
    record = catalog.versions.of(model).get(version) or catalog.models[model]
    answers = [(catalog.variants[name].accuracy, count) for name, count in tally.by_variant.items()]
    accuracy = served(record.accuracy, answers)
    return Seen(
        version=version, ok=tally.ok, errors=tally.errors, latency_ms=tally.latency_ms, seconds=tally.seconds,
        accuracy=accuracy,
    )  # fmt: skip


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    return message.headers() or []  # type: ignore[return-value]


def _records(kafka: KafkaSettings, globs: Iterable[str], since_ms: int) -> Iterator[Message]:
    """What stands in these topics now from a time on, at most `RECORDS_MAX`. Raises: Unreachable."""
    consumer = Consumer(kafka.observer(), logger=rdkafka)
    try:
        begin = _begin(consumer, kafka, tuple(globs), since_ms)
        ends = {(p.topic, p.partition): end_offset(consumer, p.topic, p.partition, timeout_s=REQUEST_S) for p in begin}
        left = {(p.topic, p.partition) for p in begin if p.offset < ends[p.topic, p.partition]}
        consumer.assign([p for p in begin if (p.topic, p.partition) in left])
        deadline = time.monotonic() + READ_S
        for _ in range(RECORDS_MAX):
            if not left or time.monotonic() > deadline:
                return
            message = consumer.poll(1.0)
            if message is None or message.error() is not None:
                for p in consumer.position([TopicPartition(*each) for each in left]):
                    if p.offset >= ends[p.topic, p.partition]:
                        left.discard((p.topic, p.partition))
                continue
            place = (message.topic() or "", message.partition() or 0)
            if (message.offset() or 0) + 1 >= ends[place]:
                left.discard(place)
            yield message
    except KafkaException as silent:
        raise Unreachable(f"{kafka.bootstrap} cannot be read: {silent.args[0].str()}") from silent
    finally:
        consumer.close()


def _begin(consumer: Consumer, kafka: KafkaSettings, globs: tuple[str, ...], since_ms: int) -> list[TopicPartition]:
    """The first offset of that time in each partition; partitions without one are left out."""
    topics = consumer.list_topics(timeout=REQUEST_S).topics
    places = [
        TopicPartition(name, partition, since_ms)
        for name, known in topics.items()
        if any(fnmatchcase(name, kafka.topic(glob)) for glob in globs)
        for partition in known.partitions
    ]
    found = consumer.offsets_for_times(places, timeout=REQUEST_S) if places else []
    return [place for place in found if place.error is None and place.offset >= 0]
