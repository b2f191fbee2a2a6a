"""The planner as a Faust worker: forecasts, counts and the fleet on channels, and a turn each 0.1 s."""

from __future__ import annotations

import asyncio
from typing import Any

import faust
from mode import Service

from agents.app import RAW, app_of, put, run_app
from agents.planner import PlannerState
from streams.clock import wall_us
from streams.settings import KafkaSettings

TURN_S = 0.1


def build(state: PlannerState, kafka: KafkaSettings, instance: str) -> faust.App:
    """The Faust app of one planner; running it is `run`."""
    app = app_of(kafka.topic(f"planner.{instance}.{wall_us():x}"), kafka, news=True)
    forecasts = app.topic(kafka.topic("forecasts"), **RAW)
    arrivals: Any = app.channel()
    fleet: Any = app.channel()

    @app.agent(forecasts)
    async def foresee(values: Any) -> None:
        async for value in values:
            state.forecast(value)

    @app.agent(arrivals)
    async def count(lists: Any) -> None:
        async for messages in lists:
            state.count(messages)

    @app.agent(fleet)
    async def hear(lists: Any) -> None:
        async for words in lists:
            state.hear(words)

    @app.service
    class Turns(Service):
        @Service.task
        async def _listen(self) -> None:
            await asyncio.get_running_loop().run_in_executor(None, state.open)
            while not self.should_stop:
                counted, words = state.listen()
                put(arrivals, counted)
                put(fleet, words)
                await asyncio.sleep(0)
                state.turn()
                await asyncio.sleep(TURN_S)

        async def on_stop(self) -> None:
            await asyncio.get_running_loop().run_in_executor(None, state.close)

    return app


def run(state: PlannerState, kafka: KafkaSettings, instance: str) -> None:
    """Run the worker until SIGTERM or SIGINT; raises SystemExit."""
    run_app(build(state, kafka, instance), kafka)
