"""The router as a Faust worker.

The registry is an ordinary Faust topic. Queries and telemetry are read by librdkafka and put on Faust channels a
list at a time, because message-at-a-time Faust costs 20x the CPU and acknowledges what raised (docs/decisions/0003).
The agents on these channels never let an exception out.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import faust
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from mode import Service

from agents.app import RAW, app_of, put, run_app
from agents.state import RouterState
from streams.clock import wall_us
from streams.hearing import Hearing
from streams.reader import Taken
from streams.settings import KafkaSettings
from streams.tail import Tail

log = logging.getLogger(__name__)

ADMIN_S = 10.0
FLEET_BACK_MS = 3_000  # of telemetry to read at the start: a few heartbeats of everyone
TURN_S = 0.01
WAIT_S = 0.002  # for the next list of a brisk stream, with the loop held: the timers can bear it
DRAIN_S = 0.002
TURN_QUERIES = 128  # routed in one turn of the loop (a few milliseconds): a full channel must not starve the telemetry


def build(state: RouterState, kafka: KafkaSettings) -> faust.App:
    """The Faust app of one router; running it is `run`."""
    app = app_of(group_of(state, kafka), kafka)
    registry = app.topic(kafka.topic("registry"), **RAW)
    fleet: Any = app.channel()
    queries: Any = app.channel()

    @app.agent(queries)
    async def route(batches: Any) -> None:
        async for batch in batches:
            while batch:
                backlog = len(batch) >= state.settings.backlog_min
                for at in range(0, len(batch), TURN_QUERIES):
                    state.route(batch[at : at + TURN_QUERIES], backlog=backlog)
                    await asyncio.sleep(0)
                batch = state.more()
                while not batch and state.brisk:
                    batch = state.more(wait_s=WAIT_S)
                    await asyncio.sleep(0)
            state.dealt()

    @app.agent(registry)
    async def learn(records: Any) -> None:
        async for event in records.events():
            state.learn(event.key, event.value, offset=event.message.offset)

    @app.agent(fleet)
    async def hear(lists: Any) -> None:
        async for words in lists:
            state.hear(words)

    @app.service
    class Intake(Service):
        """Starts reading queries once the registry has been read, and drains at the end."""

        async def on_started(self) -> None:
            loop = asyncio.get_running_loop()

            def sink(batch: list[Taken]) -> None:
                loop.call_soon_threadsafe(put, queries, batch)

            state.open(defer=loop.call_soon_threadsafe, sink=sink)

        @Service.task
        async def _turn(self) -> None:
            while not self.should_stop:
                words = state.turn()
                if words:
                    put(fleet, words)
                await asyncio.sleep(TURN_S)

        async def on_stop(self) -> None:
            loop = asyncio.get_running_loop()
            give_up = loop.time() + state.settings.grace_ms / 1_000
            while state.drain() and loop.time() < give_up:  # noqa: ASYNC110 (librdkafka sets no event)
                await asyncio.sleep(DRAIN_S)
            await loop.run_in_executor(None, state.close)

    return app


def run(state: RouterState, kafka: KafkaSettings) -> None:
    """Run the worker until SIGTERM or SIGINT; raises SystemExit with its status."""
    admin = AdminClient(kafka.client())
    state.registry_end = _end_of(admin, kafka.topic("registry"))
    state.hearing = Hearing(kafka, back_ms=FLEET_BACK_MS)
    if state.settings.plan_max_age_s:
        back_ms = round(state.settings.plan_max_age_s * 1_000)
        state.plans = Tail(kafka, "plans", since_ms=wall_us() // 1_000 - back_ms)
    app = build(state, kafka)
    run_app(app, kafka)
    sys.exit(1 if state.failed else 0)


def group_of(state: RouterState, kafka: KafkaSettings) -> str:
    """A group of its own for every router: each one reads all of the registry."""
    return kafka.topic(f"router.{state.settings.instance}")


def _end_of(admin: AdminClient, topic: str) -> int:
    part = TopicPartition(topic, 0)
    return int(
        admin.list_offsets({part: OffsetSpec.latest()}, request_timeout=ADMIN_S)[part]  # type: ignore[no-untyped-call]
        .result()
        .offset
    )
