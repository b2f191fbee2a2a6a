"""What an executor says of itself, and when; the outbox only notes what it was given."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from executors.events import BatchFinished, RunBatch
from executors.settings import ExecutorSettings
from executors.telemetry import ROUTERS_MAX, Reporter
from streams.clock import NEVER, Micros
from streams.errors import Overloaded
from streams.outbox import Outbox
from streams.records import Dispatch, LaneReport, Telemetry, decode_telemetry
from streams.settings import KafkaSettings
from tests.executors.builders import MS, T0, Bench


class Noting(Outbox):
    """Stands where the producer would."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Telemetry]] = []
        self.full = False

    def send(self, topic: str, value: bytes | None, *, key: bytes | str | None = None, **_rest: Any) -> None:
        if self.full:
            raise Overloaded("the producer's queue stayed full for 5 s")
        said = decode_telemetry(value or b"")
        assert key == said.executor
        self.sent.append((topic, said))


class Station:
    """A reporter whose machine runs nothing, asked at chosen moments; records are due every 20 to 100 ms."""

    def __init__(self) -> None:
        self.outbox = Noting()
        settings = ExecutorSettings(
            instance="e1", pool="fast", cores=2, memory_mb=750, heartbeat_ms=100, telemetry_min_ms=20
        )
        self.reporter = Reporter(settings, KafkaSettings(prefix="t."), self.outbox)
        self.bench = Bench(("v", 1), ("w", 2), cores=2)

    def says(self, ms: float) -> int:
        """How many records go out at that many ms after T0: none or one."""
        before = len(self.outbox.sent)
        self.reporter.report(self.bench.machine, now_us=Micros(T0 + round(ms * MS)))
        return len(self.outbox.sent) - before

    @property
    def last(self) -> Telemetry:
        return self.outbox.sent[-1][1]


def dispatch(router: str, seq: int) -> Dispatch:
    return Dispatch(
        query_id="q", variant="v", deadline_us=NEVER, arrived_us=T0, reply_topic="r", router=router, seq=seq
    )


def test_telemetry_first_record_says_all_there_is() -> None:
    """Both cores run `v` for 3 ms from T0 on, a job of `w` waits and one is being decoded."""
    station = Station()
    bench = station.bench
    for job in (bench.job(), bench.job(), bench.job(variant="w"), bench.job(variant="w", ready=False)):
        bench.arrive(job)
    station.reporter.slots = (3, 5)
    station.reporter.state = "ready"
    station.reporter.received(dispatch("r1", 7))

    assert station.says(1) == 1
    assert station.outbox.sent == [
        (
            "t.fleet",
            Telemetry(
                executor="e1", pool="fast", hardware="cpu", slots=(3, 5), cores=2, busy_us=2 * MS,
                lanes=(
                    LaneReport(variant="v", running=2, lanes=2, free_us=2 * MS),
                    LaneReport(variant="w", queued=2, patient=2, lanes=1),
                ),
                received={"r1": 7}, state="ready", sent_us=T0 + MS, memory_mb=750,
            ),
        )
    ]  # fmt: skip


def test_telemetry_idle_is_a_heartbeat() -> None:
    """Nothing happens: one record each 100 ms, however often it is asked."""
    station = Station()

    assert [ms for ms in range(0, 301, 5) if station.says(ms)] == [0, 100, 200, 300]


def test_telemetry_batches_are_said_at_once_but_not_too_often() -> None:
    """Batches start every 5 ms: a record each 20 ms; one start alone is said as soon as 20 ms have passed."""
    station = Station()
    said = []
    for ms in range(0, 61, 5):
        station.reporter.started()
        said += [ms] * station.says(ms)

    assert said == [0, 20, 40, 60]
    station.reporter.started()
    assert [ms for ms in (65, 79, 80, 100, 179, 180) if station.says(ms)] == [80, 180]


def test_telemetry_change_is_said_at_once() -> None:
    """Slots and states do not wait for the 20 ms."""
    station = Station()
    station.says(0)
    station.reporter.state = "draining"
    station.reporter.changed()

    assert [station.says(1), station.says(1)] == [1, 0]
    assert station.last.state == "draining"


def test_telemetry_clock_set_back_does_not_silence() -> None:
    """A silent executor is taken for dead: after the step it speaks at once, and then at its own pace."""
    station = Station()
    station.says(0)

    assert [ms for ms in (-3_600_000, -3_599_950, -3_599_900) if station.says(ms)] == [-3_600_000, -3_599_900]


def test_telemetry_received_is_the_highest_of_each_router() -> None:
    """A repeated or overtaken record does not take the count back."""
    station = Station()
    for router, seq in (("r1", 5), ("r2", 1), ("r1", 4)):
        station.reporter.received(dispatch(router, seq))
    station.says(0)

    assert station.last.received == {"r1": 5, "r2": 1}


def test_telemetry_forgets_the_router_heard_least_recently() -> None:
    """Routers that restart take new names; only ROUTERS_MAX of them are remembered."""
    station = Station()
    for n in range(ROUTERS_MAX):
        station.reporter.received(dispatch(f"r{n}", n))
    station.reporter.received(dispatch("r0", 1_000))
    station.reporter.received(dispatch("new", 1))
    station.says(0)

    assert len(station.last.received) == ROUTERS_MAX
    assert station.last.received.keys() & {"r0", "r1", "r2", "new"} == {"r0", "r2", "new"}


def test_telemetry_that_cannot_be_sent_is_logged_and_tried_at_the_next_heartbeat(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The loop must not end for want of a record that the next one replaces."""
    station = Station()
    station.outbox.full = True
    with caplog.at_level(logging.WARNING):
        assert station.says(0) == 0
    station.outbox.full = False

    assert [record.message for record in caplog.records] == ["telemetry not sent"]
    assert [ms for ms in (50, 99, 100) if station.says(ms)] == [100]


def test_telemetry_slow_variant_is_said_and_after_a_second_doubted() -> None:
    """Three batches of 9 ms instead of 3: the drift is 3, and a machine that is sent nothing says that it may be wrong.

    Meanwhile it goes by its profile again: who tries it with 5 ms to spare is not let go.
    """
    station = Station()
    bench = station.bench
    for n in range(4):
        bench.at(20 * n).arrive(bench.job())
        (batch_id,) = bench.running
        bench.at(20 * n + 9).tell(BatchFinished(batch_id, 9 * MS))

    said = []
    for ms in (100, 900, 1_100):
        station.says(ms)
        said.append((station.last.lanes[0].drift, station.last.lanes[0].doubt))
    tried = bench.at(1_101).arrive(bench.job(1_106))

    assert said == [(3.0, 0), (3.0, 0), (3.0, 1)]
    assert [type(command) for command in tried] == [RunBatch]
