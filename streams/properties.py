"""Whether librdkafka takes the configured properties: names, values, certificates; no broker is asked."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaException

from streams.errors import BadSettings
from streams.rdlog import log as rdlog
from streams.settings import KafkaSettings


def require_valid(kafka: KafkaSettings) -> None:
    """Make a client that knows no broker, and drop it.

    Raises: BadSettings with librdkafka's own words.
    """
    try:
        Consumer({**kafka.observer(), "bootstrap.servers": ""}, logger=rdlog).close()
    except KafkaException as refused:
        raise BadSettings(f"kafka.properties: {refused.args[0].str()}") from refused
