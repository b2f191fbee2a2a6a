"""What the fleet says of itself, heard for a moment: executors, routers, provisioners and planners."""

from __future__ import annotations

import time
from typing import NamedTuple, Self, assert_never

from confluent_kafka import KafkaException

from streams.errors import Unreachable
from streams.hearing import Hearing
from streams.records import PlannerReport, PoolReport, RouterReport, Telemetry
from streams.settings import KafkaSettings

BACK_MS = 2_000  # how far back to start: a few heartbeats of everyone


class Heard(NamedTuple):
    """The last word of everyone, by name."""

    executors: dict[str, Telemetry]
    routers: dict[str, RouterReport]
    pools: dict[str, PoolReport]
    planners: dict[str, PlannerReport]

    @property
    def ready(self) -> list[Telemetry]:
        """Executors that own slots and take work."""
        return [t for t in self.executors.values() if t.state == "ready" and t.slots]


class Ear:
    """Reads the `fleet` topic from two seconds ago on. Use it as a context manager; not thread-safe."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Find the place to start.

        Raises: Unreachable if the cluster does not answer, or has no such topic.
        """
        self.heard = Heard({}, {}, {}, {})
        try:
            self._hearing = Hearing(kafka, back_ms=BACK_MS)
        except KafkaException as silent:
            topic = kafka.topic("fleet")
            raise Unreachable(f"{topic} at {kafka.bootstrap} cannot be read: {silent.args[0].str()}") from silent

    def listen(self, seconds: float) -> Heard:
        """Go on hearing for so long, and return all that was heard so far."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for word in self._hearing.listen(left):
                match word:
                    case RouterReport():
                        self.heard.routers[word.router] = word
                    case Telemetry():
                        self.heard.executors[word.executor] = word
                    case PoolReport():
                        self.heard.pools[word.pool] = word
                    case PlannerReport():
                        self.heard.planners[word.planner] = word
                    case _:
                        assert_never(word)
        return self.heard

    def close(self) -> None:
        self._hearing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()
