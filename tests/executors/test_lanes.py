"""Lanes with real threads: results, errors of every kind, and instances that come and go."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from executors.backends.protocol import Array, Backend
from executors.backends.stub import Stub
from executors.lanes import Lanes, Ran

RESULT_S = 10.0  # for a result that must come; none takes a hundredth of it


class Bug:
    """A backend that fails as none should: not with ModelFailed."""

    versions: dict[str, str] = {}

    def load(self) -> None: ...

    def run(self, batch: Array) -> Array:
        raise ZeroDivisionError("division by zero")

    def close(self) -> None: ...


class Meeting:
    """A backend whose batches end only once `parties` of them run together, and that counts its closings."""

    versions: dict[str, str] = {}

    def __init__(self, barrier: threading.Barrier) -> None:
        self.barrier = barrier  # of one party: ends at once
        self.closed = 0

    def load(self) -> None: ...

    def run(self, batch: Array) -> Array:
        self.barrier.wait(RESULT_S)
        return batch

    def close(self) -> None:
        self.closed += 1


class Bench:
    """Lanes and what came out of them."""

    def __init__(self, count: int) -> None:
        self.results: queue.Queue[Ran] = queue.Queue()
        self.lanes = Lanes(count, self.results.put)

    def ran(self) -> Ran:
        return self.results.get(timeout=RESULT_S)

    def run(self, batch_id: int, variant: str, *firsts: float) -> Ran:
        self.submit(batch_id, variant, items(*firsts))
        return self.ran()

    def submit(self, batch_id: int, variant: str, inputs: list[Array]) -> None:
        self.lanes.submit(self.lanes.work(batch_id, variant, inputs))


def items(*firsts: float) -> list[Array]:
    return [np.array([first, 0], dtype=np.float32) for first in firsts]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(1)
    made.lanes.add("stub", [Stub(outputs=2)])
    made.lanes.add("bug", [Bug()])
    yield made
    made.lanes.stop(RESULT_S)


def test_lanes_batch_runs_in_order_of_its_inputs(bench: Bench) -> None:
    """Row i is of item i, and the time on the lane is said."""
    ran = bench.run(7, "stub", 1, 0, 1)

    assert (ran.batch_id, ran.error) == (7, None)
    assert ran.outputs is not None
    assert ran.outputs.argmax(axis=1).tolist() == [1, 0, 1]
    assert ran.took_us >= 0


def test_lanes_model_that_fails_is_said_and_the_lane_goes_on(bench: Bench) -> None:
    """The instance is given back after a failure: the next batch finds it."""
    failed = bench.run(1, "stub", 1, -1)
    after = bench.run(2, "stub", 1)

    assert failed.outputs is None
    assert failed.error is not None
    assert failed.error.code == "model_failed"
    assert after.error is None


def test_lanes_backend_with_a_bug_is_an_error_of_the_model(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Any exception becomes ModelFailed with its own words, its trace goes to the log, and the lane lives."""
    with caplog.at_level(logging.ERROR):
        failed = bench.run(1, "bug", 1)
    after = bench.run(2, "stub", 1)

    assert failed.outputs is None
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("model_failed", "bug: ZeroDivisionError: division by zero")
    assert [record.message for record in caplog.records] == ["backend raised"]
    assert after.error is None


def test_lanes_inputs_of_different_shapes_fail_and_the_lane_goes_on(bench: Bench) -> None:
    """np.stack raises before the backend sees anything."""
    bench.submit(1, "stub", [np.zeros(2, dtype=np.float32), np.zeros(3, dtype=np.float32)])
    failed = bench.ran()

    assert failed.error is not None
    assert failed.error.code == "model_failed"
    assert bench.run(2, "stub", 1).error is None


def test_lanes_instance_that_runs_when_its_variant_goes_is_closed_after_its_batch() -> None:
    """The batch is finished on it, a second one that had its instance as well, and neither memory is kept."""
    bench, barrier = Bench(2), threading.Barrier(3)
    runs = [Meeting(barrier), Meeting(barrier)]
    idle = Meeting(barrier)
    bench.lanes.add("many", [*runs, idle])
    for batch_id in (1, 2):
        bench.submit(batch_id, "many", items(batch_id))
    bench.lanes.remove("many")

    assert [instance.closed for instance in (*runs, idle)] == [0, 0, 1]
    barrier.wait(RESULT_S)
    assert [ran.error for ran in (bench.ran(), bench.ran())] == [None, None]
    assert [instance.closed for instance in (*runs, idle)] == [1, 1, 1]
    bench.lanes.stop(RESULT_S)


def test_lanes_variant_that_is_added_again_has_only_its_new_instances() -> None:
    """Those that it had before are closed, also one that runs."""
    bench, barrier = Bench(1), threading.Barrier(2)
    old, new = Meeting(barrier), Meeting(threading.Barrier(1))
    bench.lanes.add("v", [old])
    bench.submit(1, "v", items(0))
    bench.lanes.add("v", [new])
    barrier.wait(RESULT_S)
    bench.ran()
    bench.run(2, "v", 0)

    assert (old.closed, new.closed) == (1, 0)
    bench.lanes.remove("v")
    assert (old.closed, new.closed) == (1, 1)
    bench.lanes.stop(RESULT_S)


def test_lanes_batch_run_in_the_calling_thread_gives_its_instance_back(bench: Bench) -> None:
    """A quick batch does not go through a lane at all."""
    ran = bench.lanes.work(1, "stub", items(1)).run()

    assert ran.outputs is not None
    assert ran.outputs.argmax(axis=1).tolist() == [1]
    assert bench.run(2, "stub", 0).error is None


def test_lanes_instances_run_at_once_on_as_many_lanes() -> None:
    """Two instances on two lanes meet inside `run`; on one lane they would wait for each other for good."""
    bench = Bench(2)
    barrier = threading.Barrier(2)
    bench.lanes.add("pair", [Meeting(barrier), Meeting(barrier)])
    for batch_id in (1, 2):
        bench.submit(batch_id, "pair", items(0))
    got = [bench.ran(), bench.ran()]
    bench.lanes.stop(RESULT_S)

    assert sorted(ran.batch_id for ran in got) == [1, 2]
    assert [ran.error for ran in got] == [None, None]


def test_lanes_remove_closes_every_instance_once(bench: Bench) -> None:
    """Memory is given back; a second removal finds nothing."""
    instances: list[Meeting] = [Meeting(threading.Barrier(1)) for _ in range(3)]
    backends: list[Backend] = list(instances)
    bench.lanes.add("many", backends)
    bench.run(1, "many", 0)
    bench.lanes.remove("many")
    bench.lanes.remove("many")

    assert [instance.closed for instance in instances] == [1, 1, 1]


def test_lanes_stop_ends_what_was_submitted_first() -> None:
    """Results of batches before the stop still come."""
    bench = Bench(1)
    bench.lanes.add("stub", [Stub() for _ in range(5)])
    for batch_id in range(5):
        bench.submit(batch_id, "stub", items(0))
    bench.lanes.stop(RESULT_S)

    assert [bench.ran().batch_id for _ in range(5)] == [0, 1, 2, 3, 4]
