"""When a local Kafka counts as up: an admin client sees every node that should be there."""

from __future__ import annotations

import time
from collections.abc import Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.broker.errors import BrokerNotUp
from streams.broker.node import Node
from streams.broker.ports import HOST


def bootstrap(nodes: Sequence[Node]) -> str:
    """The addresses that a client is given."""
    return ",".join(f"{HOST}:{node.port}" for node in nodes)


def wait_ready(nodes: Sequence[Node], *, deadline: float) -> None:
    """Wait until every node answers and lists all of `nodes`, or the monotonic `deadline`.

    Each is asked itself: for a session after a kill, the others still list a node that is not back yet.
    Raises: BrokerNotUp with the tail of a log, or PortTaken, as soon as a node ends.
    """
    expected = {node.node for node in nodes}
    for node in nodes:
        admin = AdminClient(
            {
                "bootstrap.servers": bootstrap([node]),
                # Refused connections are the normal case while the JVM starts: try often, and do not log them.
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 50,
                "log_level": 0,
                **node.client,
            }
        )
        while not _listed(admin) >= expected:
            for each in nodes:
                each.require_running()
            if time.monotonic() > deadline:
                raise BrokerNotUp(
                    f"node {node.node} of {len(nodes)} did not answer and list all in time. A longer start_timeout_s "
                    f"helps on a busy machine. The end of its log:\n{node.log_tail()}"
                )
            time.sleep(0.02)  # metadata may lack a node for a moment, and list_topics then returns at once


def _listed(admin: AdminClient) -> set[int]:
    try:
        return set(admin.list_topics(timeout=0.5).brokers)
    except KafkaException:  # not up yet; the caller's deadline bounds it
        return set()
