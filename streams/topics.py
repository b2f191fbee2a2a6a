"""The topics, as one table; `create` makes what is missing, `diff` says what differs."""

from __future__ import annotations

import time
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from streams.errors import Unreachable
from streams.settings import HEADERS_MAX_BYTES, KafkaSettings

REQUEST_S = 15.0
HOUR_MS = 3_600_000


class Topic(NamedTuple):
    """One row: name without prefix, what it carries, and how it is kept."""

    name: str
    partitions: int
    key: str
    value: str
    config: dict[str, str]


def table(kafka: KafkaSettings) -> list[Topic]:
    """Every topic of this configuration, pools included."""
    # A work record is the query plus the decision's header, a dead letter that plus the reason: both may be larger
    # than what clients may send, so that what was taken can always be passed on.
    asked = {"max.message.bytes": str(kafka.value_max_bytes + HEADERS_MAX_BYTES)}
    large = {"max.message.bytes": str(kafka.value_max_bytes + 2 * HEADERS_MAX_BYTES)}
    compacted = {"cleanup.policy": "compact", "segment.ms": str(HOUR_MS), "min.cleanable.dirty.ratio": "0.1"}
    return [
        Topic("queries", kafka.query_partitions, "the user's", "payload; requirements in headers",
              {"message.timestamp.type": "LogAppendTime", "retention.ms": str(24 * HOUR_MS), **asked}),
        *(Topic(f"work.{pool}", kafka.slots, "the user's", "payload; the decision in a header",
                {"retention.ms": str(24 * HOUR_MS), **large}) for pool in kafka.pools),
        Topic("results", kafka.result_partitions, "query id", "outputs, or an error object",
              {"retention.ms": str(24 * HOUR_MS), **large}),
        Topic("dead-letters", 1, "the original's", "the original's; its headers and the reason",
              {"retention.ms": str(14 * 24 * HOUR_MS), **large}),
        Topic("registry", 1, "kind:id", "tasks, models, variants, pools, profiles", compacted),
        Topic("fleet", 1, "executor or router", "telemetry", {"retention.ms": str(HOUR_MS), "segment.ms": "60000"}),
        Topic("arrivals", 1, "class", "counts per second and partition", {"retention.ms": str(72 * HOUR_MS)}),
        Topic("forecasts", 1, "class", "quantiles of the rate over horizons", {"retention.ms": str(6 * HOUR_MS)}),
        Topic("plans", 1, "epoch", "what should run, from what, and why", {"retention.ms": str(24 * HOUR_MS)}),
        Topic("decisions", 1, "query id", "what the router weighed for one query, and what came of it",
              {"retention.ms": str(6 * HOUR_MS)}),
        Topic("scaling", 1, "executor:id or pool:name", "what to hold, or how many machines; with an epoch", compacted),
    ]  # fmt: skip


class Difference(NamedTuple):
    """One thing that is not as the table says; `fixable` ones are what `create` changes."""

    topic: str
    what: str
    fixable: bool


def diff(kafka: KafkaSettings, admin: AdminClient | None = None) -> list[Difference]:
    """Compare the cluster with the table.

    Raises: Unreachable if the cluster does not answer.
    """
    admin = admin or AdminClient(kafka.client())
    known = _metadata(admin, kafka)
    found: list[Difference] = []
    for row in table(kafka):
        name = kafka.topic(row.name)
        if name not in known:
            found.append(Difference(name, f"missing ({row.partitions} partitions)", fixable=True))
            continue
        if known[name] < row.partitions:
            found.append(Difference(name, f"has {known[name]} of {row.partitions} partitions", fixable=True))
        live = _config(admin, name)
        found.extend(
            Difference(name, f"{key} is {live.get(key)}, the table says {value}", fixable=True)
            for key, value in row.config.items()
            if live.get(key) != value
        )
    return found


def create(kafka: KafkaSettings, admin: AdminClient | None = None) -> list[str]:
    """Make the cluster as the table says; running it twice changes nothing. Partitions are only ever added.

    Returns: a line for everything that was changed.
    Raises: Unreachable if the cluster does not answer; KafkaException if it refuses.
    """
    admin = admin or AdminClient(kafka.client())
    known = _metadata(admin, kafka)
    replication = kafka.replication or min(3, len(admin.list_topics(timeout=REQUEST_S).brokers))
    done: list[str] = []
    new = [
        NewTopic(kafka.topic(row.name), row.partitions, replication, config=row.config)
        for row in table(kafka)
        if kafka.topic(row.name) not in known
    ]
    if new:
        for name, future in admin.create_topics(new, operation_timeout=REQUEST_S).items():
            try:
                future.result()
                done.append(f"created {name}")
            except KafkaException as refused:
                if refused.args[0].name() != "TOPIC_ALREADY_EXISTS":  # another `create` at the same moment
                    raise
        _wait_visible(admin, kafka)
    for row in table(kafka):
        name = kafka.topic(row.name)
        if name not in known:
            continue
        if known[name] < row.partitions:
            admin.create_partitions([NewPartitions(name, row.partitions)])[name].result()
            done.append(f"{name}: {known[name]} -> {row.partitions} partitions")
        live = _config(admin, name)
        wrong = {key: value for key, value in row.config.items() if live.get(key) != value}
        if wrong:
            resource = ConfigResource(
                ResourceType.TOPIC, name, incremental_configs=[_entry(key, value) for key, value in wrong.items()]
            )
            admin.incremental_alter_configs([resource])[resource].result()
            done.append(f"{name}: set {', '.join(f'{k}={v}' for k, v in wrong.items())}")
    return done


def _wait_visible(admin: AdminClient, kafka: KafkaSettings) -> None:
    """The controller answers before every broker knows: wait until metadata shows the topics.

    Raises: Unreachable if that takes longer than REQUEST_S.
    """
    wanted = {kafka.topic(row.name) for row in table(kafka)}
    end = time.monotonic() + REQUEST_S
    while missing := wanted - _metadata(admin, kafka).keys():
        if time.monotonic() > end:
            raise Unreachable(f"{len(missing)} new topics are not visible after {REQUEST_S:g} s: {min(missing)} ...")
        time.sleep(0.05)


def _entry(key: str, value: str) -> ConfigEntry:
    return ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)


def _metadata(admin: AdminClient, kafka: KafkaSettings) -> dict[str, int]:
    try:
        topics = admin.list_topics(timeout=REQUEST_S).topics
    except KafkaException as silent:
        raise Unreachable(
            f"no Kafka answers at {kafka.bootstrap} within {REQUEST_S:g} s ({silent.args[0].str()}); "
            "start one with `headrace broker`, or set KAFKA_BOOTSTRAP_SERVERS"
        ) from silent
    return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}


def _config(admin: AdminClient, name: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    entries = admin.describe_configs([resource], request_timeout=REQUEST_S)[resource].result()
    return {key: entry.value for key, entry in entries.items()}
