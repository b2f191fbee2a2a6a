"""Profiling in a child: what comes back, and what becomes of variants that do not run."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from executors.alone import alone
from executors.hardware import machine_kind
from executors.operators import by_node, operators
from executors.profiling import Busy, Order, Profiled, Reply, peak_bytes
from executors.profiling_process import NotProfiled, profile_apart
from registry.latency import Point
from registry.records import Artifact, Model, Variant
from tests.executors.models import model, registered, variant, write_onnx, write_pt2


def order(of: Model, which: Variant, *, lanes: int = 1, rounds: int = 2, budget_s: float = 0.2) -> Order:
    return Order(variant=which, model=of, pool="cpu", lanes=lanes, sizes=(1, 4), budget_s=budget_s, rounds=rounds)


def stub(*, fixed_us: int, per_item_us: int) -> Model:
    return model(artifacts={"stub": Artifact(path=f"stub:{fixed_us}:{per_item_us}", sha256="")})


def test_profile_apart_says_machine_lanes_and_where_it_is_from() -> None:
    """Two lanes that sleep 2 ms a batch and 1 ms an item: 4 items of each take at least 6 ms."""
    found = profile_apart(order(stub(fixed_us=2_000, per_item_us=1_000), variant(), lanes=2))

    profile = found.profile
    assert (profile.machine, profile.lanes, profile.source) == (machine_kind(), 2, "profiler")
    assert [(p.batch, p.provenance, p.error) for p in profile.points] == [(1, "measured", 0.0), (4, "measured", 0.0)]
    assert profile.points[1].p50_us >= 6_000
    assert 0 < profile.points[1].throughput_qps <= 2 * 4 / 0.006
    assert profile.load_cold_us > profile.load_us >= 0
    assert [len(half) for half in found.halves] == [2, 2]
    assert found.operators == {}


@pytest.mark.models
@pytest.mark.parametrize("framework", ["onnxruntime", "torch"])
def test_profile_apart_real_runtime_names_its_operators(framework: str, tmp_path: Path) -> None:
    """Each runtime's own profiler is asked, at two sizes, and the artifact is named."""
    write = write_onnx if framework == "onnxruntime" else write_pt2
    of = registered(framework, write(tmp_path / "artifact"))  # type: ignore[arg-type]

    found = profile_apart(order(of, variant(framework)))  # type: ignore[arg-type]

    assert sorted(found.operators) == [1, 4]
    assert all(times and min(times.values()) >= 0 for times in found.operators.values())
    assert found.profile.artifact == of.artifacts[framework].sha256
    assert found.profile.memory_bytes > 0


def test_profile_apart_variant_that_does_not_run_is_told_with_its_reason() -> None:
    """The error of the backend comes back in its own words."""
    absent = model(artifacts={"onnxruntime": Artifact(path="absent.onnx", sha256="0" * 64)})

    with pytest.raises(NotProfiled, match=r"tiny-onnxruntime: artifact_broken: .*absent\.onnx cannot be read"):
        profile_apart(order(absent, variant("onnxruntime")))


def test_profile_apart_child_that_hangs_is_killed_in_time() -> None:
    """A batch of an hour ends with the limit, and leaves no process."""
    with pytest.raises(NotProfiled, match="took longer than"):
        profile_apart(order(stub(fixed_us=900_000_000, per_item_us=0), variant(), budget_s=0.01), extra_s=3.0)


def test_profile_apart_child_that_crashes_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """No reply at all: the status and what it printed."""
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(NotProfiled, match="ended with status 1"):
        profile_apart(order(stub(fixed_us=1, per_item_us=0), variant()))


def test_profile_stdout_is_the_reply_alone() -> None:
    """A library that prints does not spoil it: one JSON object, read back as it was."""
    done = subprocess.run(
        [sys.executable, "-m", "executors.profiling"],
        input=msgspec.json.encode(order(stub(fixed_us=10, per_item_us=0), variant())),
        capture_output=True, check=True,
    )  # fmt: skip

    reply = msgspec.json.decode(done.stdout, type=Reply)
    assert isinstance(reply.profiled, Profiled)
    assert all(isinstance(point, Point) for point in reply.profiled.profile.points)


def test_by_node_skips_the_first_runs_and_what_is_no_kernel() -> None:
    """The median by node of kernel times alone."""
    events: list[dict[str, object]] = [
        {"cat": "Session", "name": "model_run", "dur": 900},
        {"cat": "Node", "name": "a_fence_before", "dur": 7},
        {"cat": "Node", "name": "a_kernel_time", "dur": 99},
        {"cat": "Node", "name": "a_kernel_time", "dur": 3},
        {"cat": "Node", "name": "a_kernel_time", "dur": 5},
        {"cat": "Node", "name": "a_kernel_time", "dur": 4},
        {"cat": "Node", "name": "once_kernel_time", "dur": 1},
    ]

    assert by_node(events, skipped=1) == {"a": 4.0}


def test_operators_of_a_stub_are_none() -> None:
    """A framework without a profiler has no operators to sum."""
    from executors.backends.open import open_backend

    of = stub(fixed_us=0, per_item_us=0)
    assert operators(variant(), of, open_backend(variant(), of), [1]) == {}


def test_busy_others_share_is_a_share() -> None:
    """Between 0 and 1, whatever the machine does."""
    busy = Busy()
    sum(range(100_000))

    assert 0.0 <= busy.of_others() <= 1.0
    assert peak_bytes() > 1_000_000


def test_alone_second_measurement_waits_for_the_first(tmp_path: Path) -> None:
    """The lock is held by one at a time, in one process as between two."""
    path, entered = tmp_path / "lock", threading.Event()

    def second() -> None:
        with alone(path):
            entered.set()

    with alone(path):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert not entered.wait(0.2)
    assert entered.wait(10)
    waiting.join()
