"""The cluster: reachable, new enough, quick to notice a death, its topics, its clock against ours."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from headrace.doctor.finding import Finding
from headrace.listen import Ear
from streams import topics
from streams.clock import wall_us
from streams.rdlog import log as rdkafka
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

REQUEST_S = 10.0
JOIN_S = 8.0
SKEW_OK_MS = 20.0
LISTEN_S = 0.6


def reachable(kafka: KafkaSettings, admin: AdminClient) -> Iterator[Finding]:
    try:
        found = admin.list_topics(timeout=REQUEST_S)
    except KafkaException as silent:
        todo = "start one with `headrace broker` or `headrace up`, or set KAFKA_BOOTSTRAP_SERVERS"
        yield Finding("fail", "cluster", f"{kafka.bootstrap} does not answer: {silent.args[0].str()}", todo)
        return
    brokers = len(found.brokers)
    told = f"{brokers} broker(s) at {kafka.bootstrap}"
    todo = "with fewer than three a lost disk loses queries; enough to try things out"
    yield Finding("ok", "cluster", told) if brokers >= 3 else Finding("warn", "cluster", told, todo)


def transport(kafka: KafkaSettings) -> Iterator[Finding]:
    """A router reads its slow topics with another library than everything else, which does its own TLS and SASL."""
    try:
        from agents.transport import reach
    except ModuleNotFoundError:
        yield Finding("ok", "router", "not asked: no router can run here without the extra agents")
        return
    reach(kafka, timeout_s=REQUEST_S)
    yield Finding("ok", "router", f"its second transport reaches the cluster too ({_security(kafka)})")


def _security(kafka: KafkaSettings) -> str:
    given = kafka.properties
    named = (given.get("security.protocol", "plaintext"), given.get("sasl.mechanism", given.get("sasl.mechanisms")))
    return ", ".join(part for part in named if part)


def groups(kafka: KafkaSettings, admin: AdminClient) -> Iterator[Finding]:
    """Join a group of the next-generation protocol on a topic of our own: the one test that no version can fake."""
    if kafka.group_protocol == "classic":
        yield Finding("ok", "groups", f"classic protocol, session {kafka.session_ms} ms asked by each member")
        return
    with _scratch(kafka, admin) as (topic, name):
        joined, error = _joins(kafka, topic, name)
        if joined:
            admin.delete_consumer_groups([kafka.topic(name)])[kafka.topic(name)].result()
    if not joined:
        told = f"no consumer group of KIP-848 could be joined within {JOIN_S:g} s: {error or 'no assignment'}"
        yield Finding("fail", "groups", told, 'use Kafka 4.0 or newer, or set [kafka] group_protocol = "classic"')
        return
    yield Finding("ok", "groups", "KIP-848 groups work (Kafka 4.0 or newer)")
    session = _session_ms(admin)
    if session is None:
        yield Finding("warn", "session", "the brokers' group session may not be read", "takeover takes as long as it")
    elif session > 2 * kafka.session_ms:
        told = f"group.consumer.session.timeout.ms is {session}, [kafka] session_ms says {kafka.session_ms}"
        todo = "lower it (and its minimum) on the brokers: a dead executor's queries wait that long"
        yield Finding("warn", "session", told, todo)
    else:
        yield Finding("ok", "session", f"a dead member is noticed after {session} ms")


def layout(kafka: KafkaSettings, admin: AdminClient) -> Iterator[Finding]:
    found = topics.diff(kafka, admin)
    for difference in found:
        yield Finding("fail", "topics", f"{difference.topic}: {difference.what}", "headrace topics create")
    if found:
        return
    yield Finding("ok", "topics", f"all {len(topics.table(kafka))} as the table says")
    with Ear(kafka) as ear:
        heard = ear.listen(LISTEN_S)
    for pool in kafka.pools:
        count = sum(telemetry.pool == pool for telemetry in heard.ready)
        told = f"{count} executor(s) on {kafka.slots} partitions of work.{pool}"
        if count > kafka.slots:
            yield Finding("fail", "slots", told, "raise [kafka] slots: an executor without a partition gets no work")
        else:
            yield Finding("ok", "slots", told) if count else Finding("warn", "slots", told, "headrace executor")
    told = f"{len(heard.routers)} router(s) on {kafka.query_partitions} partitions of queries"
    yield Finding("ok", "routers", told) if heard.routers else Finding("warn", "routers", told, "headrace router")


def skew(kafka: KafkaSettings, admin: AdminClient) -> Iterator[Finding]:
    """Append time of a record against the middle of our wait for it; the wait bounds the error."""
    with _scratch(kafka, admin) as (topic, _name):
        producer = Producer(kafka.producer(), logger=rdkafka)
        _appended_ms(producer, topic)  # the first one pays for connecting
        start_us = wall_us()
        appended_ms = _appended_ms(producer, topic)
        end_us = wall_us()
    bound_ms = (end_us - start_us) / 2_000 + 1
    skew_ms = appended_ms - (start_us + end_us) / 2_000
    told = f"the brokers' clock is {skew_ms:+.0f} ms off ours, +-{bound_ms:.0f}"
    if abs(skew_ms) <= SKEW_OK_MS + bound_ms:
        yield Finding("ok", "clock", told)
    else:
        yield Finding("warn", "clock", told, "run an NTP client on both: deadlines start at the append and end here")


@contextmanager
def _scratch(kafka: KafkaSettings, admin: AdminClient) -> Iterator[tuple[str, str]]:
    """A topic with append times, and a group name, that are gone afterwards."""
    name = f"doctor-{secrets.token_hex(4)}"
    topic = kafka.topic(name)
    config = {"message.timestamp.type": "LogAppendTime"}
    admin.create_topics([NewTopic(topic, 1, 1, config=config)], operation_timeout=REQUEST_S)[topic].result()
    try:
        yield topic, name
    finally:
        admin.delete_topics([topic])[topic].result()


def _joins(kafka: KafkaSettings, topic: str, name: str) -> tuple[bool, str | None]:
    consumer = Consumer(kafka.consumer(name), logger=rdkafka)
    end, error = time.monotonic() + JOIN_S, None
    try:
        consumer.subscribe([topic])
        while time.monotonic() < end:
            message = consumer.poll(0.1)
            if message is not None and (found := message.error()) is not None:
                error = found.str()
            if consumer.assignment():
                return True, None
    except KafkaException as refused:
        error = refused.args[0].str()
    finally:
        consumer.close()
    return False, error


def _session_ms(admin: AdminClient) -> int | None:
    broker = str(next(iter(admin.list_topics(timeout=REQUEST_S).brokers)))
    resource = ConfigResource(ResourceType.BROKER, broker)
    try:
        entries = admin.describe_configs([resource], request_timeout=REQUEST_S)[resource].result()
    except KafkaException as forbidden:
        if forbidden.args[0].code() == KafkaError.CLUSTER_AUTHORIZATION_FAILED:
            return None
        raise
    entry = entries.get("group.consumer.session.timeout.ms")
    return int(entry.value) if entry is not None and entry.value else None


def _appended_ms(producer: Producer, topic: str) -> int:
    acknowledged = threading.Event()
    times: list[int] = []

    def done(error: KafkaError | None, message: Message) -> None:
        if error is None:
            times.append(message.timestamp()[1])
        acknowledged.set()

    producer.produce(topic, b"doctor", on_delivery=done)
    producer.flush(REQUEST_S)
    if not acknowledged.is_set() or not times:
        raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001 (librdkafka's local codes)
    return times[0]
