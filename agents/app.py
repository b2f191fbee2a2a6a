"""What the Faust apps of Headrace's agents have in common."""

from __future__ import annotations

import logging
from typing import Any

import faust
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from agents.credentials import credentials
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

ADMIN_S = 10.0
RAW: dict[str, Any] = {"value_type": bytes, "value_serializer": "raw", "key_type": bytes, "key_serializer": "raw"}


class QuietApp(faust.App):
    """Writes no files: its tables are empty, and Faust would leave a folder a group in the working directory."""

    def _create_directories(self) -> None: ...


def app_of(group: str, kafka: KafkaSettings, *, news: bool = False) -> faust.App:
    """An app whose ordinary topics a new `group` reads from their beginnings, or (`news`) from now on."""
    return QuietApp(
        group,
        broker=[f"kafka://{host.strip()}" for host in kafka.bootstrap.split(",")],
        broker_credentials=credentials(kafka),
        store="memory://",
        topic_allow_declare=False,  # topics come from `headrace topics create`
        topic_disable_leader=True,
        web_enabled=False,
        stream_wait_empty=False,  # nothing on these streams needs finishing: control records and our own batches
        broker_session_timeout=30.0,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="latest" if news else "earliest",
        producer_linger=0.0,
    )


def run_app(app: faust.App, kafka: KafkaSettings) -> None:
    """Run the worker until SIGTERM or SIGINT, and delete its group, which nobody else is in; raises SystemExit."""
    try:
        _run(app)
    finally:
        _forget(kafka, app.conf.id)


def _run(app: faust.App) -> None:
    worker = faust.Worker(app, override_logging=False, redirect_stdouts=False, quiet=True, loglevel="WARNING")
    worker.spinner = None  # it would write its escape codes into logs
    worker.execute_from_commandline()


def put(channel: Any, items: list[Any]) -> None:
    """Put one list on a channel at once; `channel.put` is a coroutine, and this is its body."""
    for subscriber in channel._subscribers:  # noqa: SLF001
        subscriber.queue.put_nowait(items)


def _forget(kafka: KafkaSettings, group: str) -> None:
    try:
        admin = AdminClient(kafka.client())
        admin.delete_consumer_groups([group], request_timeout=ADMIN_S)[group].result()
    except KafkaException as kept:
        log.info("group not deleted; it expires", extra={"group": group, "error": str(kept)})
