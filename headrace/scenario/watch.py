"""What one side holds, second by second: machines, lanes, the forecast and the plan it follows."""

from __future__ import annotations

import contextlib
import threading
from typing import NamedTuple

import msgspec
from confluent_kafka import KafkaException

from agents.plan_classes import wanted_of
from streams.clock import wall_us
from streams.hearing import Hearing
from streams.records import Forecast, PoolReport, Telemetry, decode_forecast
from streams.settings import KafkaSettings
from streams.tail import Tail

LISTEN_S = 0.1
SILENCE_US = 3_000_000  # an executor that says nothing for so long holds nothing
BAND_S = 20  # the horizon of the band that is noted


class Sample(NamedTuple):
    """One moment. `machines`: by pool, with those that boot or drain; `lanes`: by (variant, pool), ready ones.

    `low_qps`, `high_qps`: the forecast's outer quantiles of the largest second of the coming BAND_S, summed over the
    classes that are planned for; 0 without one.
    """

    at_us: int
    machines: dict[str, int]
    lanes: dict[tuple[str, str], int]
    low_qps: float
    high_qps: float


class Watch(threading.Thread):
    """Hears `fleet` and `forecasts` of one side in a thread of its own until `stop`; a sample each second."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Find the ends of the topics. Raises: KafkaException if the cluster does not answer."""
        super().__init__(name="scenario-watch", daemon=True)
        self.samples: list[Sample] = []
        self._hearing = Hearing(kafka, back_ms=3_000)
        self._forecasts = Tail(kafka, "forecasts", since_ms=wall_us() // 1_000)
        self._executors: dict[str, tuple[Telemetry, int]] = {}
        self._pools: dict[str, PoolReport] = {}
        self._bands: dict[str, tuple[Forecast, int]] = {}
        self._stop_requested = threading.Event()

    def run(self) -> None:
        second = 0
        while not self._stop_requested.is_set():
            with contextlib.suppress(KafkaException):  # the broker is away; librdkafka goes on trying
                self._listen()
            now_us = wall_us()
            if now_us // 1_000_000 != second:
                second = now_us // 1_000_000
                self.samples.append(self._sample(now_us))
        self._hearing.close()
        self._forecasts.close()

    def stop(self) -> None:
        self._stop_requested.set()
        self.join(10.0)

    def executors(self) -> list[Telemetry]:
        """The last word of those that take work and were heard lately; from any thread."""
        old_us = wall_us() - SILENCE_US
        return [word for word, at_us in list(self._executors.values()) if word.state == "ready" and at_us >= old_us]

    def _listen(self) -> None:
        now_us = wall_us()
        for word in self._hearing.listen(LISTEN_S):
            if isinstance(word, Telemetry):
                self._executors[word.executor] = word, now_us
            elif isinstance(word, PoolReport):
                self._pools[word.pool] = word
        for message in self._forecasts.listen():
            with contextlib.suppress(msgspec.MsgspecError):  # of another version: the band then is not drawn
                said = decode_forecast(message.value() or b"")
                self._bands[said.klass] = said, now_us

    def _sample(self, now_us: int) -> Sample:
        lanes: dict[tuple[str, str], int] = {}
        for word in self.executors():
            for lane in word.lanes:
                at = (lane.variant, word.pool)
                lanes[at] = lanes.get(at, 0) + lane.lanes
        bands = [
            said for said, at_us in self._bands.values()
            if now_us - at_us < SILENCE_US and wanted_of(said.klass, 1.0) is not None
        ]  # fmt: skip
        rows = [said.qps[_horizon(said)] for said in bands]
        return Sample(
            at_us=now_us, lanes=lanes, low_qps=sum(row[0] for row in rows), high_qps=sum(row[-1] for row in rows),
            machines={name: word.booting + word.ready + word.draining for name, word in self._pools.items()},
        )  # fmt: skip


def _horizon(said: Forecast) -> int:
    return next((n for n, each in enumerate(said.horizons_s) if each >= BAND_S), len(said.horizons_s) - 1)
