"""From a `model.toml` to a served menu on a real topic: registered, generated, profiled, published."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Producer

from headrace import cli
from headrace.settings import load
from registry import topic
from registry.catalog import Catalog
from registry.latency import Point
from registry.store import open_artifacts
from streams.errors import BadSettings, HeadraceError
from streams.settings import KafkaSettings
from streams.topics import create
from tests.executors.models import FEATURES, WEIGHT, write_onnx
from tests.headrace.variants import narrow

pytestmark = [pytest.mark.kafka, pytest.mark.models]

Run = Callable[..., str]


@pytest.fixture
def kafka(bootstrap: str) -> KafkaSettings:
    made = KafkaSettings(
        bootstrap=bootstrap, prefix=f"menu-{uuid.uuid4().hex[:8]}.", query_partitions=1, result_partitions=1, slots=1
    )
    create(made)
    return made


@pytest.fixture
def run(
    kafka: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """A command with a store and a cache of its own, on a machine of one core; returns what it prints."""
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.chdir(tmp_path)
    narrow(monkeypatch)
    pairs = (
        f"kafka.bootstrap={kafka.bootstrap}", f"kafka.prefix={kafka.prefix}", f"artifacts.url={tmp_path / 'store'}",
        f"artifacts.cache={tmp_path / 'cache'}",
    )  # fmt: skip

    def call(command: str, *args: str) -> str:
        options = [part for pair in pairs for part in ("--set", pair)]
        cli.load(command).main([*args, *options], prog_name=command, standalone_mode=False)
        return capsys.readouterr().out

    return call


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A tiny model, and items that it labels itself."""
    write_onnx(tmp_path / "m.onnx")
    x = np.random.default_rng(0).uniform(-1, 1, (60, FEATURES)).astype("float32")
    np.savez(tmp_path / "set.npz", x=x, y=(x @ WEIGHT).argmax(axis=1))
    path = tmp_path / "model.toml"
    path.write_text('name = "tiny"\ntask = "digits"\nartifacts = ["m.onnx"]\nvalidation = "set.npz"\n')
    return path


def measured(catalog: Catalog) -> dict[str, list[Point]]:
    """Without the points between, which are predicted anew with every profile that there is."""
    return {
        profile.variant: [point for point in profile.points if point.provenance == "measured"]
        for profile in catalog.profiles.values()
    }


def test_register_generate_publishes_a_menu_that_can_be_chosen_from(
    run: Run, kafka: KafkaSettings, described: Path, tmp_path: Path
) -> None:
    """Each variant with its own accuracy, a file in the store and a profile; again, nothing is tried or measured."""
    out = run("register", str(described), "--generate", "--minutes", "2")
    catalog = topic.read(kafka)
    again = run("register", str(described), "--generate", "--minutes", "2")
    listed = run("generate", "--publish")
    after = topic.read(kafka)

    names = ["tiny/onnxruntime", "tiny/onnxruntime-int8-dynamic", "tiny/onnxruntime-int8-static"]
    assert sorted(catalog.variants) == names
    assert out.splitlines()[-1] == "published: 3 variants, 1 refused, 3 profiled now"
    assert again.splitlines()[-1] == "published: 3 variants, 1 refused, 0 profiled now"
    assert listed.splitlines()[-1] == "3 variants published, 1 refused"
    assert sorted(offer.variant for offer in catalog.offers()) == names
    accuracies = [variant.accuracy for variant in catalog.variants.values()]
    assert all(each is not None and (each.provenance, each.n) == ("measured", 48) for each in accuracies)
    assert {profile.source for profile in catalog.profiles.values()} == {"profiler"}
    assert list(catalog.refused) == ["tiny/onnxruntime-fp16"]
    own = [variant.artifact for variant in catalog.variants.values() if variant.artifact is not None]
    assert [Path(each.path).is_relative_to(tmp_path / "store") for each in own] == [True, True]
    assert after.variants == catalog.variants
    assert measured(after) == measured(catalog)


def test_generate_part_of_the_menu_leaves_the_rest_to_the_next_call(
    run: Run, kafka: KafkaSettings, described: Path
) -> None:
    """`--ways` tries what it names, and without time nothing is tried, nothing refused, and the command says so."""
    run("register", str(described))
    none = run("generate", "--minutes", "0")
    some = run("generate", "--ways", "*-int8-dynamic", "--publish")
    catalog = topic.read(kafka)

    assert none.splitlines()[-1] == "0 variants, 1 refused; no time for 3: call again, or raise --minutes"
    assert some.splitlines()[-1] == "1 variants published, 0 refused"
    assert sorted(catalog.variants) == ["tiny/onnxruntime", "tiny/onnxruntime-int8-dynamic"]


def test_register_generate_with_nothing_to_publish_is_refused(run: Run, described: Path) -> None:
    """Before anything is looked at."""
    for args in ((str(described), "--check"), (str(described.parent),)):
        with pytest.raises(BadSettings, match="--generate is for one"):
            run("register", *args, "--generate")


def test_artifacts_removes_only_what_nothing_names(
    run: Run, kafka: KafkaSettings, described: Path, tmp_path: Path
) -> None:
    """Dry by default, and never from an empty registry: its cluster or prefix may be the wrong one."""
    store = open_artifacts(load(pairs=[f"artifacts.url={tmp_path / 'store'}"], environ={}).settings.artifacts)
    stray = store.put(b"of a model that nobody registered")
    with pytest.raises(BadSettings, match="no model is registered"):
        run("registry", "artifacts", "--remove")
    run("register", str(described))
    everything = {each.digest for each in store.kept()}
    shown = run("registry", "artifacts")
    young = run("registry", "artifacts", "--unused", "--remove")
    dry = run("registry", "artifacts", "--unused", "--older-than", "0s")
    wet = run("registry", "artifacts", "--remove", "--older-than", "0s")
    model = topic.read(kafka).models["tiny"]

    assert "validation set of tiny" in shown
    assert young.splitlines()[-1].startswith("3 files, 1 that nothing names; removed 0 ")
    assert dry.splitlines() == [
        f"{stray}      0.000 MB  nothing names it",
        "3 files, 1 that nothing names; --remove would remove 1 put more than 0s ago, 0.0 MB",
    ]
    assert "removed 1 " in wet
    left = {each.digest for each in store.kept()}
    assert everything - left == {stray}
    assert left == {f"sha256:{model.artifacts['onnxruntime'].sha256}", f"sha256:{model.accuracy.dataset}"}
    newer = Producer(kafka.producer())
    newer.produce(kafka.topic("registry"), b'{"type": "adapter", "sha256": "0"}', key=b"adapter:x")
    assert newer.flush(15) == 0
    with pytest.raises(BadSettings, match="1 records of a newer version, which may name files"):
        run("registry", "artifacts", "--remove", "--older-than", "0s")


def test_register_folder_of_labelled_files_measures_on_it(
    run: Run, kafka: KafkaSettings, described: Path, tmp_path: Path
) -> None:
    """Files as queries carry them, prepared as executors prepare them; the packed set is what the store keeps."""
    described.write_text(
        'name = "tiny"\ntask = "digits"\nartifacts = ["m.onnx"]\nvalidation = "items"\nlabels = ["a", "b", "c"]\n'
        "[input]\nshape = [4]\n"
    )
    (tmp_path / "items").mkdir()
    for number in range(3):
        np.save(tmp_path / "items" / f"{number}.npy", np.eye(FEATURES, dtype="float32")[number])
    (tmp_path / "items" / "labels.csv").write_text("file,label\n0.npy,a\n1.npy,b\n2.npy,b\n")
    out, again = run("register", str(described)), run("register", str(described))
    accuracy = topic.read(kafka).models["tiny"].accuracy
    described.write_text(described.read_text().replace("[input]\nshape = [4]\n", ""))

    assert "accuracy 66.7%" in out
    assert again == out
    assert (accuracy.n, accuracy.value) == (3, 2 / 3)
    assert open_artifacts(load(pairs=[f"artifacts.url={tmp_path / 'store'}"], environ={}).settings.artifacts).exists(
        f"sha256:{accuracy.dataset}"
    )
    with pytest.raises(HeadraceError, match=r"needs the shape .* input\.shape"):
        run("register", str(described))
