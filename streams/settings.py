"""Where Kafka is and how to reach it: the part of the configuration that every process shares."""

from __future__ import annotations

import os
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

BOOTSTRAP_ENV = "KAFKA_BOOTSTRAP_SERVERS"
TOPIC_NAME_MAX = 249  # Kafka's own limit
_PREFIX = re.compile(r"^([a-zA-Z0-9][a-zA-Z0-9-]*\.)*$")


class KafkaSettings(BaseModel):
    """Section `[kafka]`: the cluster, security and naming.

    `properties` takes any librdkafka property (security.protocol, sasl.*, ssl.*), unchanged, for every client.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap: str = Field(
        default_factory=lambda: os.environ.get(BOOTSTRAP_ENV, "127.0.0.1:9092"),
        description=f"host:port of one or more brokers; {BOOTSTRAP_ENV} sets it too",
    )
    prefix: str = Field(default="headrace.", description="every topic and group starts with it")
    properties: dict[str, str] = Field(default_factory=dict, description="librdkafka properties for every client")
    replication: int = Field(default=0, ge=0, le=9, description="of new topics; 0: three, or one per broker if fewer")
    query_partitions: int = Field(default=8, ge=1, le=1024)
    result_partitions: int = Field(default=16, ge=1, le=1024)
    slots: int = Field(default=16, ge=1, le=1024, description="partitions of work.<pool>, one an executor")
    pools: tuple[str, ...] = Field(default=("cpu",), min_length=1)
    group_protocol: str = Field(default="consumer", pattern="^(consumer|classic)$", description="classic: before 4.0")
    session_ms: int = Field(default=3_000, ge=500, le=600_000, description="the brokers' group session")
    value_max_bytes: int = Field(default=1_000_000, ge=1_000, le=8_000_000, description="largest query or answer")
    reply_topics: tuple[str, ...] = Field(
        default=("results*", "replies.*"), description="allowed reply topics, as globs after the prefix"
    )

    @field_validator("prefix")
    @classmethod
    def _prefix(cls, prefix: str) -> str:
        if not _PREFIX.match(prefix) or len(prefix) > 100:
            raise ValueError(f"prefix {prefix!r} must be at most 100 letters, digits, dashes and dots, ending in a dot")
        return prefix

    def topic(self, name: str) -> str:
        return self.prefix + name

    def client(self, **overrides: Any) -> dict[str, Any]:
        """librdkafka properties that every client shares, the operator's last."""
        return {
            "bootstrap.servers": self.bootstrap,
            "allow.auto.create.topics": False,
            "reconnect.backoff.ms": 100,
            "reconnect.backoff.max.ms": 1_000,  # a broker that restarts must not wait 10 s for us
            "log_level": 4,  # warnings; librdkafka's notices are about itself
            "topic.metadata.propagation.max.ms": 5_000,
            **overrides,
            **self.properties,
        }

    def producer(self, **overrides: Any) -> dict[str, Any]:
        """An idempotent producer whose keyed records land where Java's would (murmur2)."""
        return self.client(
            **{
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,  # whole milliseconds or none: for a fraction of one librdkafka's thread spins
                "partitioner": "murmur2_random",
                "sticky.partitioning.linger.ms": 0,
                "delivery.timeout.ms": 10_000,
                "message.max.bytes": self.value_max_bytes + 2 * HEADERS_MAX_BYTES,  # what topics.py allows
                "queue.buffering.max.kbytes": 262_144,
                **overrides,
            }
        )

    def consumer(self, group: str, **overrides: Any) -> dict[str, Any]:
        """A group member that commits only what it stored, with a read-ahead small enough to keep work visible."""
        own: dict[str, Any] = {
            "group.id": self.prefix + group,
            "group.protocol": self.group_protocol,
            "enable.auto.commit": True,
            "enable.auto.offset.store": False,
            "auto.commit.interval.ms": 200,
            "auto.offset.reset": "earliest",
            "queued.min.messages": 1_000,
            "queued.max.messages.kbytes": 16_384,
            "fetch.queue.backoff.ms": 5,  # the default second would stall a small read-ahead
            "fetch.wait.max.ms": 500,
            "max.poll.interval.ms": 300_000,
        }
        if self.group_protocol == "classic":  # KIP-848 takes these from the broker and refuses them here
            own |= {
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": self.session_ms,
                "heartbeat.interval.ms": max(100, self.session_ms // 6),
            }
        return self.client(**{**own, **overrides})

    def observer(self, **overrides: Any) -> dict[str, Any]:
        """A reader of partitions that it assigns itself: it joins no group and commits nothing."""
        own: dict[str, Any] = {
            "group.id": self.prefix + "observer",  # librdkafka wants one, and looks up its coordinator
            "enable.auto.commit": False,
            "isolation.level": "read_uncommitted",  # a stranger's open transaction must not hold our answers
            "fetch.queue.backoff.ms": 5,  # the default second would stall us after a burst
        }
        return self.client(**{**own, **overrides})


HEADERS_MAX_BYTES = 16_384  # headers, key and record framing on top of the value
