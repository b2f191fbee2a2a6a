"""The router as a Faust worker.

Slow topics (fleet, registry) are ordinary Faust topics. Queries are read by librdkafka in a thread and put on a
Faust channel a batch at a time, because message-at-a-time Faust costs 20x the CPU and acknowledges what raised
(docs/decisions/0003). The agent on that channel never lets an exception out.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Any

import faust
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from mode import Service

from agents.credentials import credentials
from agents.state import RouterState
from streams.reader import Taken
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

FLEET_HISTORY_MS = 3_000  # of telemetry to read at the start: a few heartbeats of everyone
ADMIN_S = 10.0
TURN_QUERIES = 32  # routed in one turn of the loop (about a millisecond): a full channel must not starve the telemetry


class _App(faust.App):
    """Writes no files: its tables are empty, and Faust would leave a folder a group in the working directory."""

    def _create_directories(self) -> None: ...


def build(state: RouterState, kafka: KafkaSettings) -> faust.App:
    """The Faust app of one router; running it is `run`."""
    app = _App(
        group_of(state, kafka),
        broker=[f"kafka://{host.strip()}" for host in kafka.bootstrap.split(",")],
        broker_credentials=credentials(kafka),
        store="memory://",
        topic_allow_declare=False,  # topics come from `headrace topics create`
        topic_disable_leader=True,
        web_enabled=False,
        stream_wait_empty=False,  # nothing on these streams needs finishing: control records and our own batches
        broker_session_timeout=30.0,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        producer_linger=0.0,
    )
    raw: dict[str, Any] = {"value_type": bytes, "value_serializer": "raw", "key_type": bytes, "key_serializer": "raw"}
    registry = app.topic(kafka.topic("registry"), **raw)
    fleet = app.topic(kafka.topic("fleet"), **raw)
    queries: Any = app.channel()

    @app.agent(queries)
    async def route(batches: Any) -> None:
        async for batch in batches:
            for at in range(0, len(batch), TURN_QUERIES):
                state.route(batch[at : at + TURN_QUERIES])
                await asyncio.sleep(state.pause_s())
            state.routed()

    @app.agent(registry)
    async def learn(records: Any) -> None:
        async for event in records.events():
            state.learn(event.key, event.value, offset=event.message.offset)

    @app.agent(fleet)
    async def hear(records: Any) -> None:
        async for event in records.events():
            state.hear(event.key, event.value)

    @app.service
    class Intake(Service):
        """Starts reading queries once the registry has been read, and drains at the end."""

        async def on_started(self) -> None:
            loop = asyncio.get_running_loop()

            def put(batch: list[Taken]) -> None:
                for subscriber in queries._subscribers:  # noqa: SLF001 (put() is a coroutine; this is its body)
                    subscriber.queue.put_nowait(batch)

            def sink(batch: list[Taken]) -> None:
                loop.call_soon_threadsafe(put, batch)

            state.open(defer=loop.call_soon_threadsafe, sink=sink)

        @Service.task
        async def _turn(self) -> None:
            while not self.should_stop:
                state.turn()
                await self.sleep(0.02)

        async def on_stop(self) -> None:
            await asyncio.get_running_loop().run_in_executor(None, state.close)

    return app


def run(state: RouterState, kafka: KafkaSettings) -> None:
    """Run the worker until SIGTERM or SIGINT; raises SystemExit with its status."""
    admin = AdminClient(kafka.client())
    state.registry_end = _end_of(admin, kafka.topic("registry"))
    _start_fleet_late(admin, group_of(state, kafka), kafka.topic("fleet"))
    app = build(state, kafka)
    worker = faust.Worker(app, override_logging=False, redirect_stdouts=False, quiet=True, loglevel="WARNING")
    worker.spinner = None  # it would write its escape codes into logs
    try:
        worker.execute_from_commandline()
    finally:
        _forget(admin, group_of(state, kafka))
    sys.exit(1 if state.failed else 0)


def group_of(state: RouterState, kafka: KafkaSettings) -> str:
    """A group of its own for every router: each one reads all of the fleet and the registry."""
    return kafka.topic(f"router.{state.settings.instance}")


def _end_of(admin: AdminClient, topic: str) -> int:
    part = TopicPartition(topic, 0)
    return int(
        admin.list_offsets({part: OffsetSpec.latest()}, request_timeout=ADMIN_S)[part]  # type: ignore[no-untyped-call]
        .result()
        .offset
    )


def _start_fleet_late(admin: AdminClient, group: str, topic: str) -> None:
    """Place the group near the end of `fleet`: at 280 us a record, an hour of heartbeats would hold up the start."""
    part = TopicPartition(topic, 0)
    since = OffsetSpec.for_timestamp(round(time.time() * 1_000) - FLEET_HISTORY_MS)
    offset = admin.list_offsets({part: since}, request_timeout=ADMIN_S)[part].result().offset
    if offset < 0:  # nothing that young
        offset = _end_of(admin, topic)
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, offset)])
    admin.alter_consumer_group_offsets([wanted], request_timeout=ADMIN_S)[group].result()


def _forget(admin: AdminClient, group: str) -> None:
    try:
        admin.delete_consumer_groups([group], request_timeout=ADMIN_S)[group].result()
    except KafkaException as kept:
        log.info("group not deleted; it expires", extra={"group": group, "error": str(kept)})
