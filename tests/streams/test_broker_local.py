"""Real Kafka: up, reachable, survived, and gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streams.broker import BrokerNotUp, DataInUse, DataMismatch, LocalBroker, PortTaken
from streams.broker.config import meta_properties
from streams.broker.node import random_id
from streams.broker.ports import HOST, free
from tests.streams.test_child import gone

pytestmark = pytest.mark.kafka

PARENT = """
import time
from streams.broker import LocalBroker
broker = LocalBroker()
broker.start()
print(broker._folder, *broker.pids[0], flush=True)
time.sleep(600)
"""


def create(bootstrap: str, topic: str, *, replicas: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(topic, 2, replicas)], operation_timeout=10).values():
        future.result(10)


def send(bootstrap: str, topic: str, values: list[bytes]) -> None:
    """Produce with all acknowledgements; raises unless every record was stored."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "message.max.bytes": 8_000_000, "log_level": 0}
    )
    errors: list[KafkaError | None] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _record: errors.append(error))
    producer.flush(20)
    assert errors == [None] * len(values)


def receive(bootstrap: str, topic: str, count: int, *, protocol: str = "consumer") -> list[bytes]:
    """Up to `count` values, read as a member of a group; fewer when 20 s pass."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"read-{topic}-{protocol}",
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.subscribe([topic])
    values: list[bytes] = []
    deadline = time.monotonic() + 20
    while len(values) < count and time.monotonic() < deadline:
        record = consumer.poll(0.2)
        if record is not None and record.error() is None:
            values.append(record.value() or b"")
    consumer.close()
    return sorted(values)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, LocalBroker]]:
    """One node on a folder that is kept."""
    data = tmp_path_factory.mktemp("kept")
    with LocalBroker(data) as broker:
        yield data, broker


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_broker_session_fixture_serves_both_group_protocols(bootstrap: str, protocol: str) -> None:
    """A topic, a value of nearly 8 MB, and a group of either protocol."""
    create(bootstrap, f"both-{protocol}", replicas=1)
    large = b"x" * 7_990_000

    send(bootstrap, f"both-{protocol}", [b"1", large])

    assert receive(bootstrap, f"both-{protocol}", 2, protocol=protocol) == [b"1", large]


def test_broker_stop_leaves_nothing() -> None:
    """After `stop` no process runs and the temporary folder is gone; a second `stop` is harmless."""
    broker = LocalBroker()
    broker.start()
    folder, pids = broker._folder, broker.pids[0]
    assert broker.alive()
    assert folder is not None

    broker.stop()
    broker.stop()

    assert gone(*pids)
    assert not folder.exists()
    assert not broker.alive()


def test_broker_parent_killed_leaves_no_jvm() -> None:
    """Kill -9 of the process that started it: the JVM, its guard and its folder go too."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    folder, *pids = parent.stdout.readline().split()
    assert Path(folder).exists()

    parent.kill()
    parent.wait()
    parent.stdout.close()

    assert gone(*map(int, pids))
    assert not Path(folder).exists()


def test_broker_restart_keeps_data_and_address(kept: tuple[Path, LocalBroker]) -> None:
    """A node killed with -9 and started again has the same records at the same port."""
    _data, broker = kept
    address = broker.bootstrap
    create(address, "restart", replicas=1)
    send(address, "restart", [b"1", b"2"])
    broker.kill()
    assert not broker.alive()

    broker.restart()

    assert broker.alive()
    assert broker.bootstrap == address
    assert receive(address, "restart", 2) == [b"1", b"2"]


def test_broker_data_folder_in_use_is_refused(kept: tuple[Path, LocalBroker]) -> None:
    """A second broker on the same folder starts nothing and leaves the first alone."""
    data, broker = kept

    with pytest.raises(DataInUse, match=f"another broker runs on {data}"):
        LocalBroker(data).start()

    assert broker.alive()


def test_broker_data_survives_a_stop_but_not_another_shape(tmp_path: Path) -> None:
    """A later broker on the folder has the records; one of three nodes is refused with both counts."""
    with LocalBroker(tmp_path) as first:
        create(first.bootstrap, "kept", replicas=1)
        send(first.bootstrap, "kept", [b"1"])

    with pytest.raises(DataMismatch, match="written by 1 nodes, asked for 3"):
        LocalBroker(tmp_path, nodes=3).start()

    with LocalBroker(tmp_path) as second:
        assert receive(second.bootstrap, "kept", 1) == [b"1"]


def test_broker_three_nodes_survive_the_loss_of_one() -> None:
    """With three replicas every record is written and read while a node is dead, and the node comes back."""
    with LocalBroker(nodes=3) as broker:
        create(broker.bootstrap, "replicated", replicas=3)
        send(broker.bootstrap, "replicated", [b"1"])

        broker.kill(1)
        send(broker.bootstrap, "replicated", [b"2"])
        assert receive(broker.bootstrap, "replicated", 2) == [b"1", b"2"]
        assert (broker.alive(), broker.alive(0), broker.alive(1)) == (False, True, False)

        broker.restart(1)
        assert broker.alive()


def test_broker_taken_port_is_refused() -> None:
    """A port that was asked for and is taken: nothing starts."""
    with socket.create_server((HOST, 0)) as taken, pytest.raises(PortTaken, match="is taken"):
        LocalBroker(ports=[taken.getsockname()[1]]).start()


def test_broker_port_lost_after_the_look_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A free port that someone binds first costs a second attempt, not the start."""
    with socket.create_server((HOST, 0)) as thief:
        stolen = [(free(1)[0], thief.getsockname()[1], free(1)[0])]
        monkeypatch.setattr("streams.broker.local.free", lambda count: stolen.pop() if stolen else free(count))

        with LocalBroker() as broker:
            assert broker.alive()
            assert str(thief.getsockname()[1]) not in broker.bootstrap


def test_broker_that_dies_shows_its_log(tmp_path: Path) -> None:
    """A folder that Kafka refuses: the error carries Kafka's own words, and nothing runs on."""
    meta = tmp_path / "node-0" / "kafka" / "meta.properties"
    meta.parent.mkdir(parents=True)
    meta.write_text(meta_properties(7, random_id(), random_id()))
    broker = LocalBroker(tmp_path)

    with pytest.raises(BrokerNotUp, match=r"node 0 ended(.|\n)*node.?id(.|\n)*7"):
        broker.start()

    assert not broker.alive()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_broker_command_prints_the_address_and_stops_cleanly(tmp_path: Path, end: signal.Signals) -> None:
    """`headrace broker` gives a line to copy; Ctrl-C and SIGTERM both end it with 0 and nothing left."""
    code = "import typer; from headrace.commands.broker import broker; typer.run(broker)"
    port = free(1)[0]
    command = [sys.executable, "-c", code, "--data", str(tmp_path / "data"), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None

    line = process.stdout.readline()
    os.kill(process.pid, end)
    _out, err = process.communicate(timeout=20)

    assert line == f"export KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:{port}\n"
    assert process.returncode == 0, err
    assert "Kafka has stopped." in err
    with LocalBroker(tmp_path / "data", ports=[port]):  # neither the folder nor the port is held any more
        pass
