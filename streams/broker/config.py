"""The `server.properties` of one node, as one table with a reason a row. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from streams.broker.ports import HOST
from streams.broker.secured import PROTOCOL, Secured

MESSAGE_MAX_BYTES = 8 << 20


class NodeAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where one node listens: for clients, and for the other nodes' controllers."""

    node: int
    port: int
    controller_port: int


class GroupTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How soon a silent consumer loses its partitions. KIP-848 puts this on the broker."""

    session_ms: int = 3_000
    heartbeat_ms: int = 500

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_ms < self.session_ms <= 600_000:
            raise ValueError(
                f"heartbeat {self.heartbeat_ms} ms and session {self.session_ms} ms: "
                "0 < heartbeat < session <= 600000 must hold"
            )


def server_properties(
    node: int, quorum: Sequence[NodeAddress], data: Path, timeouts: GroupTimeouts, secured: Secured | None = None
) -> dict[str, str]:
    """Configuration of `node`, which is broker and controller at once, among `quorum`.

    Shapes: `quorum` has one entry a node, ordered by `node` from 0.
    """
    assert [address.node for address in quorum] == list(range(len(quorum))), quorum
    me, nodes = quorum[node], len(quorum)
    replicas = min(3, nodes)
    in_sync_min = 2 if nodes >= 3 else 1  # with three, losing one node stops nobody and loses nothing acknowledged
    protocol = "PLAINTEXT" if secured is None else PROTOCOL
    table: dict[str, str | int | float | Path] = {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": ",".join(f"{a.node}@{HOST}:{a.controller_port}" for a in quorum),
        # Loopback only: a broker without authentication must not be reachable from outside.
        "listeners": f"{protocol}://{HOST}:{me.port},CONTROLLER://{HOST}:{me.controller_port}",
        "advertised.listeners": f"{protocol}://{HOST}:{me.port}",
        "listener.security.protocol.map": f"{protocol}:{protocol},CONTROLLER:PLAINTEXT",
        "security.inter.broker.protocol": protocol,
        "controller.listener.names": "CONTROLLER",
        "log.dirs": data,
        # A topic that nobody declared is a bug to be seen, as in production.
        "auto.create.topics.enable": "false",
        # Kafka's own topics default to 50 partitions and 3 replicas: slow to create, impossible on one node.
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync_min,
        "share.coordinator.state.topic.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync_min,
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync_min,
        # Takeover of a dead executor's slots takes about one session; the defaults are 45 s, minimum included.
        "group.consumer.session.timeout.ms": timeouts.session_ms,
        "group.consumer.min.session.timeout.ms": min(1_000, timeouts.session_ms),
        "group.consumer.heartbeat.interval.ms": timeouts.heartbeat_ms,
        "group.consumer.min.heartbeat.interval.ms": min(100, timeouts.heartbeat_ms),
        # Classic groups (Faust) ask for their own session; let them ask for less than the default minimum of 6 s.
        "group.min.session.timeout.ms": min(1_000, timeouts.session_ms),
        "group.initial.rebalance.delay.ms": 0,  # 3 s by default, for fleets that start together
        # The largest value that settings allow is 8 MB; it must come through with its headers, so that Headrace can
        # answer a large query in words, and not the broker with a bare error.
        "message.max.bytes": MESSAGE_MAX_BYTES,
        "replica.fetch.max.bytes": MESSAGE_MAX_BYTES,
        # Compaction and retention within seconds, so that tests see them; the defaults are 15 s to 5 min.
        "log.cleaner.backoff.ms": 1_000,
        "log.cleaner.min.cleanable.ratio": 0.1,
        "log.cleaner.dedupe.buffer.size": 16 << 20,  # 128 MiB by default, a quarter of our heap
        "log.initial.task.delay.ms": 1_000,
        "log.retention.check.interval.ms": 5_000,
        "log.segment.delete.delay.ms": 1_000,
        # A killed node's leaders move, and the node itself may come back, after one session: 9 s by default.
        "broker.session.timeout.ms": 3_000,
        "broker.heartbeat.interval.ms": 500,
        # Sized for a laptop's few cores; the defaults are for a server of its own.
        "num.network.threads": 2,
        "num.io.threads": 4,
        **({} if secured is None else secured.server()),
    }
    return {key: str(value) for key, value in table.items()}


def render(properties: dict[str, str]) -> str:
    """Java properties: a backslash is the only character of ours that needs escaping."""
    return "".join(f"{key}={value}\n".replace("\\", "\\\\") for key, value in properties.items())


def meta_properties(node: int, cluster_id: str, directory_id: str) -> str:
    """The identity of a formatted folder, as Kafka's StorageTool writes it."""
    return f"version=1\ncluster.id={cluster_id}\nnode.id={node}\ndirectory.id={directory_id}\n"
