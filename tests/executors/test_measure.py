"""The plain profile, on a clock that only the backend moves."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest

from executors.backends.open import open_backend
from executors.backends.protocol import Array
from executors.crew import SAMPLES_MAX, SAMPLES_MIN, Crew, Timed
from executors.hardware import describe, machine_kind, resident_bytes, usable_cores
from executors.measure import measure, plausible, point, pooled, sweep
from registry.latency import LatencyProfile, Point
from registry.records import Profile
from streams.errors import ModelFailed
from tests.executors.models import model, registered, variant, write_onnx


class Clocked:
    """A backend that takes l(b) = fixed + per_item b of a clock that it moves itself; the first runs take longer."""

    versions = {"clocked": "1"}

    def __init__(self, *, fixed_us: int, per_item_us: int, cold_us: int = 0) -> None:
        self.now_ns = 0
        self.sizes: list[int] = []
        self._fixed_us, self._per_item_us, self._cold_us = fixed_us, per_item_us, cold_us

    def load(self) -> None:
        self.now_ns += 7_000_000

    def run(self, batch: Array) -> Array:
        cold = self._cold_us if len(batch) not in self.sizes else 0
        self.sizes.append(len(batch))
        self.now_ns += 1_000 * (self._fixed_us + self._per_item_us * len(batch) + cold)
        return batch

    def close(self) -> None:
        """Nothing held."""


def profile(backend: Clocked, *, budget_s: float, batch_max: int = 8) -> Profile:
    return measure(
        backend,
        variant=variant(batch_max=batch_max),
        model=model(),
        pool="cpu",
        machine="x",
        budget_s=budget_s,
        clock_ns=lambda: backend.now_ns,
    )


def test_measure_ample_budget_times_every_size_warm() -> None:
    """Cold first runs do not count, and a fast size stops at the cap of samples."""
    backend = Clocked(fixed_us=100, per_item_us=50, cold_us=9_000)

    result = profile(backend, budget_s=60)

    assert result.points == tuple(
        Point(
            batch=b, p50_us=100 + 50 * b, p99_us=100 + 50 * b, samples=SAMPLES_MAX,
            throughput_qps=round(b * 1e6 / (100 + 50 * b), 3),
        )
        for b in (1, 2, 4, 8)
    )  # fmt: skip
    assert backend.sizes.count(8) == SAMPLES_MAX + 3
    assert (result.variant, result.pool, result.machine, result.load_us) == ("tiny-stub", "cpu", "x", 7_000)
    assert set(result.versions) == {"clocked", "python"}
    assert result.measured_at.endswith("+00:00")


def test_measure_one_batch_over_its_share_stops_enlarging() -> None:
    """A slow variant is measured as far as the budget goes, and extrapolated beyond."""
    backend = Clocked(fixed_us=0, per_item_us=100_000)

    result = profile(backend, budget_s=1)

    assert [p.batch for p in result.points] == [1, 2, 4]
    assert backend.sizes.count(4) == 1 + SAMPLES_MIN
    assert LatencyProfile(result.points, batch_max=8).p50_us[8] == 800_000


def test_measure_budget_is_kept_within_the_least_samples() -> None:
    """The time spent exceeds the budget only by what the least number of samples needs."""
    backend = Clocked(fixed_us=1_000, per_item_us=1_000)

    profile(backend, budget_s=0.5)

    assert backend.now_ns <= 7_000_000 + 500_000_000 + 4 * 9_000_000


def test_measure_cap_between_sizes_is_measured_itself() -> None:
    """The largest batch that will run is a point, not a guess."""
    result = profile(Clocked(fixed_us=10, per_item_us=10), budget_s=1, batch_max=6)

    assert [p.batch for p in result.points] == [1, 2, 4, 6]


class Lane:
    """A backend of many: each thread has a clock of its own."""

    versions = {"lane": "1"}
    clock = threading.local()

    def __init__(self, *, fails_at: int | None = None) -> None:
        self.runs = 0
        self._fails_at = fails_at

    @classmethod
    def now_ns(cls) -> int:
        return getattr(cls.clock, "ns", 0)

    def load(self) -> None:
        self.clock.ns = self.now_ns() + 5_000_000

    def run(self, batch: Array) -> Array:
        self.runs += 1
        if self.runs == self._fails_at:
            raise ModelFailed("broken on purpose")
        self.clock.ns = self.now_ns() + 100_000 * len(batch)
        return batch

    def close(self) -> None:
        """Nothing held."""


def test_measure_every_lane_runs_and_throughput_is_theirs_together() -> None:
    """Two lanes of 100 us an item do 20,000 items a second; a lane waits for the other with work, not idle."""
    lanes = [Lane(), Lane()]

    result = measure(
        lanes[0], others=lanes[1:], variant=variant(batch_max=2), model=model(), pool="cpu", machine="x",
        budget_s=0.05, clock_ns=Lane.now_ns,
    )  # fmt: skip

    assert result.lanes == 2
    assert [(p.batch, p.p50_us, p.throughput_qps) for p in result.points] == [(1, 100, 20_000.0), (2, 200, 20_000.0)]
    assert min(lane.runs for lane in lanes) > 2 * SAMPLES_MIN
    assert result.load_us == 5_000


@pytest.mark.parametrize("fails_at", [1, 5])
def test_crew_one_lane_fails_the_others_stop_and_it_is_told(fails_at: int) -> None:
    """During warm-up or counting, no lane is left at a barrier, and the error is the model's."""
    items = list(plausible(model(), 1, rng=np.random.default_rng(0)))

    with (
        Crew([Lane(), Lane(fails_at=fails_at), Lane()], clock_ns=Lane.now_ns) as crew,
        pytest.raises(ModelFailed, match="broken on purpose"),
    ):
        crew.run(items, share_ns=10_000_000)


def test_measure_rounds_interleave_the_sizes() -> None:
    """Each round passes over all sizes, so that a slow second is not the fate of one of them."""
    backend = Clocked(fixed_us=100, per_item_us=0)

    timed = sweep(
        [backend], variant=variant(batch_max=2), model=model(), sizes=(1, 2), budget_s=0.004, rounds=2,
        clock_ns=lambda: backend.now_ns,
    )  # fmt: skip

    changes = [a for a, b in itertools.pairwise([*backend.sizes, 0]) if a != b]
    assert changes == [1, 2, 1, 2]
    assert {size: len(rounds) for size, rounds in timed.items()} == {1: 2, 2: 2}


@pytest.mark.parametrize(("samples", "p99_us"), [(40, 9_000), (100, 1_000)])
def test_pooled_one_disturbed_round_does_not_move_the_median(samples: int, p99_us: int) -> None:
    """Nor p99, if the rounds have samples enough to have their own; else the worst that was seen counts."""
    calm, wild = Timed([1_000_000] * samples, 100.0), Timed([9_000_000] * 200, 11.0)

    got = pooled(1, [calm, wild, calm])

    assert got == Point(batch=1, p50_us=1_000, p99_us=p99_us, throughput_qps=100.0, samples=2 * samples + 200)


@pytest.mark.parametrize("count", [1, 2, 3, 50, 99, 300])
def test_point_few_samples_p99_is_the_largest_never_under_p50(count: int) -> None:
    """Below 100 samples the 99th percentile is the worst that was seen."""
    samples = [1_000_000 + 1_000 * i for i in range(count)]

    got = point(4, samples)

    assert got.p99_us >= got.p50_us
    assert got.p99_us == (1_000 + count - 1 if count < 100 else 1_297)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int64", "bool"])
def test_plausible_items_vary_and_fit_the_dtype(dtype: str) -> None:
    """Inputs are neither zeros nor out of range."""
    items = plausible(model(input_dtype=dtype, input_shape=(3, 8, 8)), 4, rng=np.random.default_rng(1))

    assert items.shape == (4, 3, 8, 8)
    assert items.dtype == np.dtype(dtype)
    assert len(np.unique(items)) >= 2
    assert items.astype(float).min() >= -1


@pytest.mark.models
def test_measure_real_model_gives_a_usable_profile(tmp_path: Path) -> None:
    """From a file to a profile that selection can tabulate."""
    of_tiny, tiny = registered("onnxruntime", write_onnx(tmp_path / "tiny.onnx")), variant("onnxruntime")

    result = measure(
        open_backend(tiny, of_tiny), variant=tiny, model=of_tiny, pool="cpu", machine=machine_kind(), budget_s=0.2
    )

    assert [p.batch for p in result.points] == [1, 2, 4, 8]
    assert all(1 <= p.p50_us <= p.p99_us for p in result.points)
    assert result.load_us > 0
    assert set(result.versions) == {"onnxruntime", "numpy", "python"}


@pytest.mark.parametrize(
    ("cpuinfo", "says"),
    [
        ("model name\t: AMD EPYC\ncpu family\t: 25\nmodel\t\t: 17\n", "AMD EPYC 25.17 x2"),
        (
            "cpu family : 6\nmodel : 85\nmodel name : Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz\nmodel name : B",
            "Intel Xeon Platinum 8259CL 6.85 x2",
        ),
        ("model name : AMD EPYC 7763 64-Core Processor\ncpu family : 25\nmodel : 1\n", "AMD EPYC 7763 25.1 x2"),
        ("CPU implementer : 0x41\nCPU part : 0xd0c\n", "aarch64 0xd0c x2"),
        ("", "aarch64 x2"),
        ("model name : " + "long " * 40, ("long " * 13)[:61] + " x2"),
    ],
)
def test_describe_is_short_and_names_the_processor(cpuinfo: str, says: str) -> None:
    """Clock rates and trade marks are left out, family and model kept, at most 64 characters."""
    assert describe(cpuinfo, cores=2, architecture="aarch64") == says


@pytest.mark.parametrize(("quota", "cores"), [("100000 100000\n", 1), ("50000 100000", 1), ("max 100000", None)])
def test_usable_cores_are_cut_by_the_cgroup(quota: str, cores: int | None, tmp_path: Path) -> None:
    """A container's quota counts, which onnxruntime's default ignores."""
    path = tmp_path / "cpu.max"
    path.write_text(quota)

    assert usable_cores(cpu_max=path) == (cores or usable_cores(cpu_max=tmp_path / "absent"))


def test_machine_kind_is_stable() -> None:
    """Asked twice, the same name."""
    assert machine_kind() == machine_kind()
    assert resident_bytes() > 1_000_000
