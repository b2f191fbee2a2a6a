"""Forecasters as real processes on a real Kafka: what they publish, who of two does, and what a kill -9 costs."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Producer

from agents.forecast_files import Files, Kept
from agents.forecast_training import as_series
from agents.outlook import Outlook, leads
from forecasting.forecaster import GROWN_S, Forecaster, untrained
from streams.child import Child
from streams.clock import wall_us
from streams.records import Arrivals, Forecast, RouterReport, decode_forecast, encode
from streams.settings import KafkaSettings
from streams.tail import Tail
from streams.topics import create

END_S = 60.0
PAST_S = 300
RATES = {"task=a slo=100": 20, "task=b slo=any": 5}


class World:
    """A router that counts, forecasters, and their reader."""

    def __init__(self, kafka: KafkaSettings, folder: Path) -> None:
        self.kafka = kafka
        self.folder = folder
        self.heard: list[Forecast] = []
        self.sent: Counter[str] = Counter()
        self.children: dict[str, Child] = {}
        self._producer = Producer(kafka.producer())
        self._tail = Tail(kafka, "forecasts", since_ms=0)
        self._second = wall_us() // 1_000_000 - PAST_S
        self._rng = np.random.default_rng(1)

    def start(self, name: str) -> None:
        env = {
            **os.environ, "HEADRACE_KAFKA__BOOTSTRAP": self.kafka.bootstrap,
            "HEADRACE_KAFKA__PREFIX": self.kafka.prefix, "HEADRACE_FORECASTER__SAVE_S": "2",
            "HEADRACE_FORECASTER__FOLDER": str(self.folder / name), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, "-P", "-m", "headrace", "forecaster", "--instance", name]
        self.children[name] = Child(command, log=self.folder / f"{name}.log", env=env)

    def count(self) -> None:
        """Write the counts of every second that is over, as two partitions of a router would."""
        while self._second < wall_us() // 1_000_000:
            for klass, rate in RATES.items():
                for partition in (0, 1):
                    made = Arrivals(
                        klass=klass, second=self._second, partition=partition, count=int(self._rng.poisson(rate / 2))
                    )
                    self.sent[klass] += made.count
                    self._producer.produce(self.kafka.topic("arrivals"), encode(made), key=klass)
            self._second += 1
        report = RouterReport(router="r", sent_us=wall_us(), behind=100)
        self._producer.produce(self.kafka.topic("fleet"), encode(report), key="router:r")
        self._producer.flush(10)

    def until(self, true: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + END_S
        while not true():
            assert time.monotonic() < end, (what, self.heard[-2:], [c.tail() for c in self.children.values()])
            self.count()
            self.heard += [decode_forecast(m.value() or b"") for m in self._tail.listen(0.3)]

    def until_saved(self, name: str) -> None:
        """It publishes, and has stored a state since."""
        place = self.folder / name / "place.json"
        self.until(lambda: bool(self.heard) and place.exists(), "forecasts and a state")
        saved = place.stat().st_mtime_ns
        self.until(lambda: place.stat().st_mtime_ns > saved, "a later state")

    def close(self) -> None:
        for child in self.children.values():
            child.kill()
        self._tail.close()


@pytest.fixture
def world(bootstrap: str, tmp_path: Path) -> Iterator[World]:
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=f"test-forecaster-{wall_us():x}.")
    create(kafka)
    made = World(kafka, tmp_path)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.kafka
def test_forecasters_one_publishes_and_another_takes_over(world: World) -> None:
    """From an hour of counts that was there before it; after a kill -9 the second one goes on within seconds."""
    world.start("f1")
    world.until(lambda: {f.klass for f in world.heard} == {*RATES}, "a forecast of each class")
    first = [f for f in world.heard if f.klass == "task=a slo=100"][-1]
    world.start("f2")
    world.until(lambda: (world.folder / "f2" / "place.json").exists(), "the second is up")
    both = len(world.heard)
    world.until(lambda: len(world.heard) > both + 6, "the first goes on")
    before = {f.forecaster for f in world.heard}
    world.children["f1"].kill()
    world.until(lambda: world.heard[-1].forecaster == "f2", "the second takes over")

    assert before == {"f1"}
    assert first.horizons_s == (20, 60, 180)
    q50, q90, q95 = first.qps[1]
    assert 10 < q50 <= q90 <= q95 < 80
    assert first.fresh
    assert 60 < first.backlog < 95  # its four fifths of the hundred


@pytest.mark.kafka
def test_forecaster_killed_and_restarted_counts_every_second_once(world: World) -> None:
    """What its state holds after two kills is what was sent."""
    world.start("f1")
    for _ in range(2):
        world.until_saved("f1")
        world.children["f1"].kill()
        world.heard.clear()
        world.start("f1")
    world.until_saved("f1")
    world.children["f1"].terminate()
    assert world.children["f1"].wait(timeout_s=20)
    kept = Files(world.folder / "f1").load()

    assert kept is not None
    history = kept.state.history
    counted = {klass: float(history.rate[i].sum()) for i, klass in enumerate(history.classes)}
    open_s = world._second - history.second
    assert 0 < open_s < 15
    for klass, rate in RATES.items():
        assert world.sent[klass] - rate * (open_s + 8) - 60 < counted[klass] <= world.sent[klass]


def test_files_survive_what_is_not_usable(tmp_path: Path) -> None:
    """No file, half a file, a state of another moment than its place: the topic is read again."""
    files = Files(tmp_path)
    forecaster = Forecaster(untrained())
    outlook = Outlook(forecaster, forecaster.start(), late_s=1)
    outlook.add(Arrivals(klass="a", second=1_000, partition=0, count=3), partition=0, offset=7, now_s=1_000)
    outlook.close(1_010)
    nothing = files.load()
    files.save(Kept(outlook.state, {0: 8}))
    kept = files.load()
    (tmp_path / "place.json").write_text('{"second": 5, "offsets": {}}')
    other = files.load()
    (tmp_path / "state.npz").write_bytes(b"half")
    half = files.load()

    assert (nothing, other, half) == (None, None, None)
    assert kept is not None
    assert (kept.offsets, kept.state.history.second) == ({0: 8}, outlook.state.history.second)


def test_leads_is_the_first_by_name() -> None:
    """One of any set."""
    assert leads("a", [])
    assert leads("a", ["b", "c"])
    assert not leads("b", ["a"])


def test_as_series_of_less_than_twelve_hours_is_nothing() -> None:
    """And of more, the silence between is zero."""
    short = {"a": {0: 1, GROWN_S - 100: 1}}
    whole = {"a": dict.fromkeys(range(GROWN_S + 100), 2), "b": {50: 7}}
    made = as_series(whole)

    assert as_series({}) == as_series(short) == {}
    assert {klass: float(one.rate.sum()) for klass, one in made.items()} == {"a": 2.0 * (GROWN_S + 100), "b": 7.0}
