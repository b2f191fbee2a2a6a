"""The topics of a cluster against the table: created once, drift seen and repaired."""

from __future__ import annotations

import secrets
import threading
import time

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from streams.errors import Unreachable
from streams.settings import KafkaSettings
from streams.topics import Difference, create, diff, table


@pytest.fixture
def kafka(bootstrap: str) -> KafkaSettings:
    """A prefix without topics."""
    return KafkaSettings(bootstrap=bootstrap, prefix=f"t{secrets.token_hex(4)}.", query_partitions=2, slots=2)


def alter(kafka: KafkaSettings, topic: str, key: str, value: str) -> None:
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, kafka.topic(topic), incremental_configs=[entry])
    admin = AdminClient(kafka.client())
    admin.incremental_alter_configs([resource])[resource].result(10)


def differences(kafka: KafkaSettings, count: int) -> list[Difference]:
    """What differs, once it is `count` things: the controller answers before the broker shows a change."""
    end = time.monotonic() + 15
    while len(found := diff(kafka)) != count and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_table_names_every_pool_and_no_topic_twice() -> None:
    """Each pool has its work topic; names are unique."""
    names = [row.name for row in table(KafkaSettings(pools=("cpu", "gpu")))]

    assert len(names) == len(set(names))
    assert {"queries", "work.cpu", "work.gpu", "results", "dead-letters", "registry"} <= set(names)


def test_table_queries_stamp_on_append_and_can_be_passed_on() -> None:
    """Deadlines count from the broker's clock; what `queries` takes, the topics after it take as well."""
    rows = {row.name: row.config for row in table(KafkaSettings())}

    assert rows["queries"]["message.timestamp.type"] == "LogAppendTime"
    asked = int(rows["queries"]["max.message.bytes"])
    assert all(asked < int(rows[name]["max.message.bytes"]) for name in ("work.cpu", "dead-letters"))


@pytest.mark.kafka
def test_create_twice_changes_nothing_the_second_time(kafka: KafkaSettings) -> None:
    """Idempotent, and afterwards nothing differs."""
    missing = diff(kafka)
    first = create(kafka)
    differences(kafka, 0)
    second = create(kafka)

    assert [found.topic for found in missing] == [kafka.topic(row.name) for row in table(kafka)]
    assert all(found.what.startswith("missing") and found.fixable for found in missing)
    assert sorted(first) == sorted(f"created {kafka.topic(row.name)}" for row in table(kafka))
    assert second == []
    assert differences(kafka, 0) == []


@pytest.mark.kafka
def test_diff_sees_drift_and_create_repairs_it(kafka: KafkaSettings) -> None:
    """A changed property and too few partitions are named with both values, then put right."""
    create(kafka)
    alter(kafka, "queries", "message.timestamp.type", "CreateTime")
    wider = kafka.model_copy(update={"query_partitions": 4})
    queries = kafka.topic("queries")
    found = differences(wider, 2)
    done = create(wider)

    assert found == [
        Difference(queries, "has 2 of 4 partitions", fixable=True),
        Difference(queries, "message.timestamp.type is CreateTime, the table says LogAppendTime", fixable=True),
    ]
    assert done == [f"{queries}: 2 -> 4 partitions", f"{queries}: set message.timestamp.type=LogAppendTime"]
    assert differences(wider, 0) == []


@pytest.mark.kafka
def test_more_partitions_than_the_table_are_left_alone(kafka: KafkaSettings) -> None:
    """Kafka cannot take partitions away, and an operator may have wanted them."""
    create(kafka.model_copy(update={"query_partitions": 4}))
    differences(kafka, 0)

    assert differences(kafka, 0) == []
    assert create(kafka) == []


@pytest.mark.kafka
def test_create_by_two_at_once_works(kafka: KafkaSettings) -> None:
    """Every process of a fleet may run it at its start."""
    failed: list[Exception] = []

    def run() -> None:
        try:
            create(kafka)
        except Exception as error:  # noqa: BLE001 (whatever it is, the test shows it)
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failed == []
    assert differences(kafka, 0) == []


def test_unreachable_cluster_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address, the time and the two ways out."""
    monkeypatch.setattr("streams.topics.REQUEST_S", 0.5)
    nowhere = KafkaSettings(bootstrap="127.0.0.1:1")
    for call in (diff, create):
        with pytest.raises(
            Unreachable, match=r"127\.0\.0\.1:1 within 0\.5 s .*headrace broker.*KAFKA_BOOTSTRAP_SERVERS"
        ):
            call(nowhere)
