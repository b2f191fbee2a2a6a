"""The emulated backend, and who may open it."""

from __future__ import annotations

import time

import numpy as np
import pytest

from executors.backends.emulated import emulate, sampled_us
from executors.backends.open import open_backend
from executors.backends.protocol import Backend, BackendMissing
from executors.orders import Want
from executors.residency import Residency
from executors.settings import ExecutorSettings
from registry.catalog import Catalog
from registry.latency import LatencyProfile, Point
from registry.records import EMULATED, Accuracy, Model, Pool, Profile, Step, Task, Variant
from streams.settings import KafkaSettings

POINTS = (Point(batch=1, p50_us=4_000, p99_us=6_000), Point(batch=8, p50_us=20_000, p99_us=22_000))
MODEL = Model(
    name="m", task="t", version="1", accuracy=Accuracy(value=0.9, provenance="published"), input_name="x",
    input_shape=(4,), input_dtype="float32", output_name="y", preprocess=Step(name="tensor"),
    postprocess=Step(name="top-k"), labels=("emulated",),
)  # fmt: skip
VARIANT = Variant(name="m/e", model="m", framework="emulated", batch_max=8)
REAL = Variant(name="m/r", model="m", framework="stub", batch_max=8)
PROFILE = Profile(variant="m/e", pool="cpu", machine=EMULATED, points=POINTS, load_us=50_000)


def catalog(*more: Variant | Profile) -> Catalog:
    found = Catalog()
    for record in (Task(name="t"), Pool(name="cpu"), MODEL, VARIANT, PROFILE, *more):
        found.add(record)
    return found


@pytest.mark.parametrize("size", [1, 3, 8])
def test_sampled_many_have_the_profiles_quantiles(size: int) -> None:
    """p50 and p99 of every size, those between the points too, within what 20,000 draws can tell."""
    latency = LatencyProfile(POINTS, batch_max=8)
    rng = np.random.default_rng(1)

    drawn = [sampled_us(latency, size, rng) for _ in range(20_000)]

    assert np.quantile(drawn, 0.5) == pytest.approx(latency.p50_us[size], rel=0.01)
    assert np.quantile(drawn, 0.99) == pytest.approx(latency.p99_us[size], rel=0.02)


def test_run_and_load_sleep_for_what_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed and name draw the same, others draw others; a load takes the profile's."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    batch = np.zeros((3, 4), dtype=np.float32)

    def instance(who: str, seed: int = 0) -> Backend:
        return emulate(VARIANT, MODEL, PROFILE, seed=seed, who=who)

    instance("a").load()
    outputs = [instance(*key).run(batch) for key in (("a",), ("a",), ("b",), ("a", 1))]

    assert slept[0] == 0.05
    assert slept[1] == slept[2]
    assert len(set(slept[2:])) == 3
    assert all(output.shape == (3, 1) and (output == 1.0).all() for output in outputs)


@pytest.mark.parametrize(
    ("variant", "profile", "why"),
    [
        (REAL, PROFILE, "is of stub"),
        (VARIANT, None, "no profile of a fleet file"),
        (VARIANT, Profile(variant="m/e", pool="cpu", machine="EPYC x2", points=POINTS), "no profile of a fleet file"),
    ],
)
def test_emulate_what_no_fleet_file_registered_is_refused(variant: Variant, profile: Profile | None, why: str) -> None:
    """A real variant, one without a profile, and one with a measured profile."""
    with pytest.raises(BackendMissing, match=why):
        emulate(variant, MODEL, profile, seed=0, who="x")


def test_open_emulated_variant_in_any_other_way_is_refused() -> None:
    """Profiling, generation and benchmarks open backends too."""
    with pytest.raises(BackendMissing, match="only an executor with"):
        open_backend(VARIANT, MODEL)


class Wanting(Residency):
    """What it would load."""

    def __init__(self, settings: ExecutorSettings) -> None:
        super().__init__(settings, KafkaSettings(), loaded=lambda *_: None, unloaded=lambda *_: None)
        self.asked: list[str] = []

    def _load(self, catalog: Catalog, want: Want, variant: Variant, model: Model) -> None:
        self.asked.append(variant.name)
        self._here[variant.name] = want


@pytest.mark.parametrize(("emulates", "loads"), [(True, "m2/e"), (False, "m/r")])
def test_pass_loads_emulated_or_real_and_never_both(emulates: bool, loads: str) -> None:
    """Each kind of executor keeps to its own, with both registered for its pool, each for a task of its own."""
    found = catalog(REAL)
    other = Model(**{**{f: getattr(MODEL, f) for f in MODEL.__struct_fields__}, "name": "m2", "task": "t2"})
    for record in (
        Task(name="t2"), other, Variant(name="m2/e", model="m2", framework="emulated", batch_max=8),
        Profile(variant="m2/e", pool="cpu", machine=EMULATED, points=POINTS),
    ):  # fmt: skip
        found.add(record)
    residency = Wanting(ExecutorSettings(emulated=emulates))
    residency._pass(found)

    assert residency.asked == [loads]


def test_pass_emulated_variant_of_another_pool_is_not_loaded() -> None:
    """It has no latency here; nothing is measured, and nothing is refused."""
    residency = Wanting(ExecutorSettings(emulated=True, pool="other"))
    residency._pass(catalog())

    assert (residency.asked, residency.refused) == ([], {})


def test_offers_emulated_variants_of_a_task_that_real_ones_serve_are_none() -> None:
    """Who asks for the task did not ask for emulation; once the real one is gone, the emulated ones are offered."""
    measured = Profile(variant="m/r", pool="cpu", machine="EPYC x2", points=POINTS)
    found = catalog(REAL, measured)
    both = [offer.variant for offer in found.offers()]
    found.apply("variant:m/r", None)

    assert both == ["m/r"]
    assert [offer.variant for offer in found.offers()] == ["m/e"]
