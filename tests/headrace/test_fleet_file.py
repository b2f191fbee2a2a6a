"""Fleet files: what is refused, what they register, and which processes they ask for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from executors.settings import ExecutorSettings
from headrace.control import unmeasured
from headrace.fleet_file import BadFleet, Fleet, read
from headrace.fleet_records import records_of
from headrace.listen import Heard
from headrace.readiness import Awaited, lacking
from headrace.roles import CONTROL, EXECUTORS, ROUTERS, roles
from headrace.settings import Loaded, load
from registry.catalog import Catalog
from registry.emulation import EmulationMixed, leftovers, require_apart
from registry.latency import Point
from registry.records import Accuracy, Artifact, Model, Profile, Record, Step, Variant
from streams.records import PlannerReport, PoolReport, RouterReport, Telemetry

EXAMPLES = Path(__file__).parents[2] / "examples" / "fleets"
TEXT = """
[pools.cpu]
cores = 2
price_usd_hour = 0.1
boot_s = 3

[pools.gpu]
hardware = "gpu"
cores = 2
price_usd_hour = 0.5
least = 0
most = 30
first = 0

[curves.line]
fixed_us = 1_000
per_item_us = 500
spread = 1.5

[models.m]
task = "t"
accuracy = 0.8
variants = [
    { pool = "cpu", width = 2, curve = "line", batch_max = 4, load_s = 2, memory_mb = 50 },
    { pool = "gpu", precision = "fp16", accuracy = 0.79, latency_ms = [[1, 2, 3], [8, 4.5, 5]] },
]
"""


def written(tmp_path: Path, text: str = TEXT) -> Path:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    return path


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return read(written(tmp_path))


def settings(fleet: Fleet | None, *pairs: str, control: bool = True) -> Loaded:
    flags = {"up": {"control": control}} if fleet is None else fleet.flags(control=control)
    return load(pairs=pairs, flags=flags, environ={})


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_read_examples_make_catalogues_in_which_every_variant_is_offered(path: Path) -> None:
    """Each on its pool, for every task."""
    catalog = Catalog()
    for record in records_of(read(path)):
        catalog.add(record)

    assert {offer.variant for offer in catalog.offers()} == set(catalog.variants)
    assert {offer.task for offer in catalog.offers()} == set(catalog.tasks)


def test_read_file_of_the_documentation_is_valid(tmp_path: Path) -> None:
    """It is copied from there."""
    page = (EXAMPLES.parents[1] / "docs" / "emulation.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)

    assert read(written(tmp_path, text)).source == "invented"


def test_records_are_what_the_file_says(fleet: Fleet) -> None:
    """A curve's ends, measured rows, memory, load, accuracy, and where they come from."""
    records = {record.key: record for record in records_of(fleet)}
    cpu, gpu = "m/emulated-fp32-cpu-w2", "m/emulated-fp16-gpu"
    variant, profile = records[f"variant:{gpu}"], records[f"profile:{cpu}@cpu"]
    assert isinstance(variant, Variant)
    assert isinstance(profile, Profile)

    assert (variant.framework, variant.hardware, variant.precision) == ("emulated", "gpu", "fp16")
    assert variant.accuracy == Accuracy(value=0.79, provenance="published", source="emulated: invented")
    assert (profile.machine, profile.load_us, profile.memory_bytes, profile.lanes) == (
        "emulated",
        2_000_000,
        50_000_000,
        1,
    )
    assert [(p.batch, p.p50_us, p.p99_us) for p in profile.points] == [(1, 1_500, 2_250), (4, 3_000, 4_500)]


def test_read_bad_parts_names_every_violation(tmp_path: Path) -> None:
    """Unknown and missing keys, and values out of bounds, each by its place."""
    text = '[pools.cpu]\ncores = 0\nprise = 1\n[models.m]\ntask = "t"\naccuracy = 2\nvariants = [{ width = 1 }]\n'

    with pytest.raises(BadFleet) as refused:
        read(written(tmp_path, text))

    told = str(refused.value)
    assert "5 violations" in told
    for place in (
        "pools.cpu.cores = 0: should be", "pools.cpu.price_usd_hour is missing", "pools.cpu.prise is unknown",
        "models.m.accuracy = 2: should be", "models.m.variants[0].pool is missing",
    ):  # fmt: skip
        assert place in told


def test_read_parts_that_are_wrong_do_not_hide_what_is_wrong_between_the_others(tmp_path: Path) -> None:
    """In the same pass; and nothing follows from a part that is wrong."""
    text = (
        TEXT.replace("cores = 2\nprice_usd_hour = 0.1", "cores = 0")
        + """
    [models.n]
    task = "u"
    accuracy = 0.5
    variants = [{ pool = "gpx", curve = "line", load_s = -1 }, { pool = "gpu", width = 3, curve = "lime" }]
    """
    )

    with pytest.raises(BadFleet) as refused:
        read(written(tmp_path, text))

    assert str(refused.value).splitlines()[1:] == [
        "pools.cpu.cores = 0: should be greater than or equal to 1", "pools.cpu.price_usd_hour is missing",
        "models.n.variants[0].load_s = -1: should be greater than or equal to 0",
        "models.n.variants[1]: width = 3: a machine of gpu has 2 cores",
        "models.n.variants[1]: width = 3: on gpu a lane is 1 wide",
        "models.n.variants[1]: curve = 'lime' is none of curves; did you mean line?",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("pools = 3\nmodels = {}", "pools = 3: should be"),
        ("[pools.cpu]\nprice_usd_hour = 1", "models is missing"),
        (TEXT.replace("[pools.gpu]", "[pools.Gpu]"), "pools.Gpu.[key] = 'Gpu': String should match"),
        (TEXT.replace("[models.m]", "[models.m]\nvariants = 7\n[models.n]"), "models.m.variants = 7: should be"),
    ],
)
def test_read_file_of_another_shape_is_refused(tmp_path: Path, text: str, line: str) -> None:
    """Also where nothing can be said of the rest."""
    with pytest.raises(BadFleet) as refused:
        read(written(tmp_path, text))

    assert line in str(refused.value)


def test_read_parts_that_do_not_fit_together_names_every_violation(tmp_path: Path) -> None:
    """Names that nothing has, widths and memory that no machine has, latencies that contradict themselves."""
    text = """
    [pools.cpu]
    cores = 2
    memory_mb = 100
    price_usd_hour = 0.1
    least = 2
    first = 1
    [pools.gpu]
    hardware = "gpu"
    cores = 4
    price_usd_hour = 1
    most = 199
    [tasks.lost]
    [models.none]
    task = "t"
    accuracy = 0.5
    variants = []
    [models.m]
    task = "t"
    accuracy = 0.5
    variants = [
        { pool = "cpx", curve = "line" },
        { pool = "cpu", width = 3, memory_mb = 200, latency_ms = [[4, 2, 1], [1, 1, 1]] },
        { pool = "gpu", width = 2 },
        { pool = "gpu", width = 2, latency_ms = [[1, 1, 1]] },
    ]
    """
    with pytest.raises(BadFleet) as refused:
        read(written(tmp_path, text))

    lines = str(refused.value).splitlines()
    assert "14 violations" in lines[0]
    for part in (
        "models.none: has no variants",
        "pools.cpu: first = 1 is not within least = 2", "pools: 203 machines", "tasks.lost: no model answers it",
        "2 variants would have the name m/emulated-fp32-gpu-w2", "variants[0]: pool = 'cpx' is none of pools; did you",
        "variants[0]: curve = 'line' is none of curves", "variants[1]: width = 3: a machine of cpu has 2",
        "variants[1]: memory_mb = 200", "variants[1]: latency_ms: batches [4, 1] do not rise",
        "variants[1]: latency_ms: at batch 4 p99 = 1 is below p50 = 2", "variants[2]: width = 2: on gpu",
        "variants[2]: has neither curve nor latency_ms",
    ):  # fmt: skip
        assert any(part in line for line in lines), part


def test_roles_of_a_fleet_are_readable_settings_of_each_pool(fleet: Fleet) -> None:
    """What every child reads from its environment: bounds, hardware, emulated, nothing loaded before an order."""
    loaded = settings(fleet)
    made = {role.name: role for role in roles(loaded, config=None, bootstrap="b:1", fleet=fleet)}
    read_by = {name: load(environ=role.env).settings for name, role in made.items()}
    gpu = read_by["provisioner-gpu"]
    machines = gpu.provisioner

    assert {name: role.stage for name, role in made.items()} == {
        "router-1": ROUTERS, "forecaster-1": CONTROL, "planner-1": CONTROL,
        "provisioner-cpu": EXECUTORS, "provisioner-gpu": EXECUTORS,
    }  # fmt: skip
    assert {s.kafka.bootstrap for s in read_by.values()} == {"b:1"}
    assert {(s.kafka.pools, s.kafka.slots) for s in read_by.values()} == {(("cpu", "gpu"), 34)}
    assert (machines.pool, machines.least, machines.most, machines.first) == ("gpu", 0, 30, 0)
    assert (gpu.executor.emulated, gpu.executor.hardware, gpu.executor.variants) == (True, "gpu", ())
    assert read_by["provisioner-cpu"].executor.boot_s == 3
    assert read_by["provisioner-cpu"].provisioner.boot_s > 3 + fleet.loads_s("cpu")
    assert not read_by["router-1"].executor.emulated
    assert read_by["planner-1"].planner.far_s == fleet.far_s == 20


def test_planner_looks_as_far_ahead_as_machines_take(fleet: Fleet) -> None:
    """Unless it was said how far."""
    cpu = fleet.pools["cpu"].model_copy(update={"boot_s": 90})
    slow = fleet.model_copy(update={"pools": {**fleet.pools, "cpu": cpu}})
    planners = []
    for said in ((), ("planner.far_s=5",)):
        made = roles(settings(slow, *said), config=None, bootstrap="b:1", fleet=slow)
        planners += [role for role in made if role.name == "planner-1"]

    assert [load(environ=each.env).settings.planner.far_s for each in planners] == [90 + slow.loads_s("cpu"), 5]


def test_roles_without_control_load_everything_and_obey_orders(fleet: Fleet) -> None:
    """No planner and no forecaster; and what the user set is left as it is."""
    made = roles(settings(fleet, control=False), config=None, bootstrap="b:1", fleet=fleet)
    said = roles(settings(fleet, "executor.variants=m/*"), config=None, bootstrap="b:1", fleet=fleet)

    assert [role.name for role in made] == ["router-1", "provisioner-cpu", "provisioner-gpu"]
    assert load(environ=made[1].env).settings.executor.variants == ("*",)
    assert load(environ=said[-1].env).settings.executor.variants == ("m/*",)


def test_roles_with_control_have_one_provisioner_in_the_place_of_executors() -> None:
    """Real executors, at most as many as there would have been, and none of them emulated."""
    made = {role.name: role for role in roles(settings(None, "up.executors=3"), config=None, bootstrap="b:1")}
    own = load(environ=made["provisioner-cpu"].env).settings

    assert list(made) == ["router-1", "forecaster-1", "planner-1", "provisioner-cpu"]
    assert (own.provisioner.least, own.provisioner.most, own.executor.variants) == (1, 3, ())
    assert not own.executor.emulated


REAL: list[Record] = [
    Model(
        name="real", task="t", version="1", accuracy=Accuracy(value=0.9, provenance="published"), input_name="x",
        input_shape=(4,), input_dtype="float32", output_name="y", preprocess=Step(name="tensor"),
        postprocess=Step(name="tensor"), artifacts={"torch": Artifact(path="x", sha256="0")},
    ),
    Variant(name="real/torch", model="real", framework="torch"),
]  # fmt: skip


def test_require_apart_task_with_both_is_refused_in_either_order(fleet: Fleet) -> None:
    """Whoever comes second: a fleet file, or the registration of a model, also without variants yet."""
    emulated, real = Catalog(), Catalog()
    for record in records_of(fleet):
        emulated.add(record)
    for each in REAL:
        real.add(each)

    with pytest.raises(EmulationMixed, match="task t: would have"):
        require_apart(real, records_of(fleet))
    for given in (REAL, REAL[:1]):
        with pytest.raises(EmulationMixed, match="task t"):
            require_apart(emulated, given)
    require_apart(emulated, records_of(fleet))


def test_require_apart_pool_with_measured_profiles_is_refused(fleet: Fleet) -> None:
    """The fleet's record of the pool would change what its real machines cost."""
    catalog = Catalog()
    catalog.add(
        Profile(variant="x", pool="cpu", machine="EPYC", points=(Point(batch=1, p50_us=1, p99_us=1),))
    )  # fmt: skip

    with pytest.raises(EmulationMixed, match="pool cpu"):
        require_apart(catalog, records_of(fleet))


def test_leftovers_are_emulated_variants_that_the_file_no_longer_has(fleet: Fleet) -> None:
    """With their profiles; nothing real is among them."""
    catalog = Catalog()
    for record in (*records_of(fleet), *REAL):
        catalog.add(record)
    kept = [r for r in records_of(fleet) if "gpu" not in r.key]

    assert leftovers(catalog, kept) == ["profile:m/emulated-fp16-gpu@gpu", "variant:m/emulated-fp16-gpu"]


def test_unmeasured_are_real_variants_in_service_without_a_profile_of_such_a_machine(fleet: Fleet) -> None:
    """Nothing emulated, nothing too wide for a machine, and not what was measured on one like it."""
    catalog = Catalog()
    for record in (*records_of(fleet), *REAL):
        catalog.add(record)
    catalog.add(Variant(name="real/wide", model="real", framework="torch", width=2))

    def names(machine: str, cores: int = 1) -> list[str]:
        return unmeasured(catalog, ExecutorSettings(), cores=cores, machine=machine)

    before = names("EPYC"), names("EPYC", cores=2)
    catalog.add(Profile(variant="real/torch", pool="cpu", machine="EPYC", points=(Point(batch=1, p50_us=1, p99_us=1),)))

    assert before == (["real/torch"], ["real/torch", "real/wide"])
    assert (names("EPYC"), names("Xeon")) == ([], ["real/torch"])


def test_lacking_names_what_is_not_there_until_all_is() -> None:
    """Machines count against what their provisioner wants now."""
    awaited = Awaited(routers=1, executors=0, pools=("cpu", "gpu"), planner=True)
    heard = Heard({}, {}, {}, {"p": PlannerReport(planner="p")})
    heard.pools["cpu"] = PoolReport(pool="cpu", wanted=2, ready=1)
    before = lacking(heard, awaited)
    heard.routers["r"] = RouterReport(router="r")
    heard.pools.update(cpu=PoolReport(pool="cpu", wanted=1, ready=1), gpu=PoolReport(pool="gpu"))
    heard.planners["q"] = PlannerReport(planner="q", leads=True)
    nearly = lacking(heard, awaited)
    heard.executors["cpu-1"] = Telemetry(executor="cpu-1", pool="cpu", slots=(0,))

    assert before == [
        "0 of 1 routers", "1 of 2 machines of cpu", "no provisioner of gpu", "no planner that leads",
        "no machine with models",
    ]  # fmt: skip
    assert nearly == ["no machine with models"]
    assert lacking(heard, awaited) == []
