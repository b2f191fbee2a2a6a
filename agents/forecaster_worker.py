"""The forecaster as a Faust worker: counts and the fleet on channels, other forecasters, and a turn each 0.25 s."""

from __future__ import annotations

import asyncio
from typing import Any

import faust
from mode import Service

from agents.app import RAW, app_of, put, run_app
from agents.forecaster import ForecasterState
from streams.clock import wall_us
from streams.settings import KafkaSettings

TURN_S = 0.25


def build(state: ForecasterState, kafka: KafkaSettings, instance: str) -> faust.App:
    """The Faust app of one forecaster; running it is `run`."""
    app = app_of(kafka.topic(f"forecaster.{instance}.{wall_us():x}"), kafka, news=True)
    forecasts = app.topic(kafka.topic("forecasts"), **RAW)
    arrivals: Any = app.channel()
    fleet: Any = app.channel()

    @app.agent(arrivals)
    async def count(lists: Any) -> None:
        async for messages in lists:
            state.count(messages)

    @app.agent(forecasts)
    async def others(values: Any) -> None:
        async for value in values:
            state.other(value)

    @app.agent(fleet)
    async def hear(lists: Any) -> None:
        async for words in lists:
            state.hear(words)

    @app.service
    class Turns(Service):
        async def on_started(self) -> None:
            state.open()

        @Service.task
        async def _listen(self) -> None:
            while not self.should_stop:
                counted, words = state.listen()
                put(arrivals, counted)
                put(fleet, words)
                await asyncio.sleep(0 if counted else TURN_S)

        async def on_stop(self) -> None:
            await asyncio.get_running_loop().run_in_executor(None, state.close)

    return app


def run(state: ForecasterState, kafka: KafkaSettings, instance: str) -> None:
    """Run the worker until SIGTERM or SIGINT; raises SystemExit."""
    run_app(build(state, kafka, instance), kafka)
