"""The pure half of the local broker: properties and ports."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from streams.broker import PortTaken
from streams.broker.config import GroupTimeouts, NodeAddress, meta_properties, render, server_properties
from streams.broker.ports import HOST, free, require_free
from streams.broker.secured import Secured

QUORUM = [NodeAddress(node=node, port=9000 + node, controller_port=9100 + node) for node in range(3)]


def test_server_properties_one_node_needs_no_second_replica() -> None:
    """Alone, every replication factor and every in-sync minimum is one."""
    properties = server_properties(0, QUORUM[:1], Path("/data"), GroupTimeouts())

    counts = {
        key: value for key, value in properties.items() if key.endswith(("replication.factor", "isr", "replicas"))
    }
    assert set(counts.values()) == {"1"}
    assert len(counts) == 7


def test_server_properties_three_nodes_form_one_quorum_on_loopback() -> None:
    """Each node names all controllers, and listens on its own ports of 127.0.0.1 only."""
    properties = server_properties(1, QUORUM, Path("/data"), GroupTimeouts())

    assert properties["controller.quorum.voters"] == "0@127.0.0.1:9100,1@127.0.0.1:9101,2@127.0.0.1:9102"
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:9001,CONTROLLER://127.0.0.1:9101"
    assert properties["offsets.topic.replication.factor"] == "3"
    assert properties["min.insync.replicas"] == "2"


def test_server_properties_secured_leave_no_open_listener_for_clients() -> None:
    """Clients and the other nodes log in; only the controllers talk among themselves in the clear."""
    secured = Secured(identity=Path("/i.pem"), authority=Path("/a.pem"), users={"admin": "secret", "me": "mine"})

    properties = server_properties(1, QUORUM, Path("/data"), GroupTimeouts(), secured)

    assert properties["listeners"] == "SASL_SSL://127.0.0.1:9001,CONTROLLER://127.0.0.1:9101"
    assert properties["security.inter.broker.protocol"] == "SASL_SSL"
    assert properties["listener.name.sasl_ssl.plain.sasl.jaas.config"].endswith(
        'username="admin" password="secret" user_admin="secret" user_me="mine";'
    )


@pytest.mark.parametrize("users", [{}, {"me": 'a"b'}, {"a b": "c"}])
def test_secured_users_that_would_break_the_line_are_refused(users: dict[str, str]) -> None:
    """Names and passwords go into a line with quotes of its own."""
    with pytest.raises(ValueError, match="users: at least one, and letters and digits only"):
        Secured(identity=Path("/i.pem"), authority=Path("/a.pem"), users=users)


def test_server_properties_timeouts_lie_within_the_brokers_minima() -> None:
    """The broker refuses a session below its minimum, so the minima never exceed what was asked for."""
    asked = GroupTimeouts(session_ms=600, heartbeat_ms=50)

    properties = server_properties(0, QUORUM[:1], Path("/data"), asked)

    assert properties["group.consumer.session.timeout.ms"] == "600"
    assert int(properties["group.consumer.min.session.timeout.ms"]) <= 600
    assert int(properties["group.consumer.min.heartbeat.interval.ms"]) <= 50
    assert int(properties["group.min.session.timeout.ms"]) <= 600


@pytest.mark.parametrize(("session_ms", "heartbeat_ms"), [(500, 500), (3_000, 0), (600_001, 500)])
def test_group_timeouts_out_of_bounds_are_refused(session_ms: int, heartbeat_ms: int) -> None:
    """A heartbeat must fit into a session, and both have limits; the message gives both values."""
    with pytest.raises(ValueError, match=f"{heartbeat_ms} ms and session {session_ms} ms"):
        GroupTimeouts(session_ms=session_ms, heartbeat_ms=heartbeat_ms)


def test_render_escapes_what_java_would_read_as_an_escape() -> None:
    """One line a property; a backslash in a path survives."""
    assert render({"a": "1", "log.dirs": "/x\\y"}) == "a=1\nlog.dirs=/x\\\\y\n"


def test_meta_properties_name_cluster_and_node() -> None:
    """The four lines that StorageTool writes."""
    assert meta_properties(2, "c", "d") == "version=1\ncluster.id=c\nnode.id=2\ndirectory.id=d\n"


def test_free_ports_differ_and_lie_below_the_ephemeral_range() -> None:
    """No outgoing connection can be given one of them."""
    ports = free(6)

    assert len(set(ports)) == 6
    assert all(20_000 <= port < 32_000 for port in ports)


def test_require_free_taken_port_is_named() -> None:
    """Something listens there: the error says which port and what to do."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PortTaken, match=f"port {port} on 127.0.0.1 is taken"):
            require_free([port])
