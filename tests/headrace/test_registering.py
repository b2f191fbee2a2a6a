"""`headrace.register` on a real topic: what stands there afterwards, for one registrar and for two at once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from executors.backends import open as opening
from headrace import cli
from headrace.registering import try_steps
from headrace.settings import Loaded, load
from registry import topic
from registry.lifecycle import Role
from registry.manifest import BadManifest
from registry.records import Step
from registry.register import Registered
from streams.errors import BadSettings
from streams.settings import KafkaSettings
from streams.topics import create
from tests.executors.models import FEATURES, model, write_onnx

Say = Callable[..., Registered]


@pytest.fixture
def loaded(bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """A registry, a store and a memory of its own."""
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path / "kept"))
    prefix = f"register-{uuid.uuid4().hex[:8]}."
    create(KafkaSettings(bootstrap=bootstrap, prefix=prefix, query_partitions=1, slots=1))
    pairs = [
        f"kafka.bootstrap={bootstrap}", f"kafka.prefix={prefix}", f"artifacts.url={tmp_path / 'store'}",
        f"artifacts.cache={tmp_path / 'cache'}",
    ]  # fmt: skip
    return load(pairs=pairs, environ={})


@pytest.fixture
def say(loaded: Loaded, tmp_path: Path) -> Say:
    np.savez(tmp_path / "set.npz", x=np.eye(FEATURES, dtype="float32")[[0, 1, 2]], y=np.arange(3))

    def register(path: str = "m.onnx", **changes: Any) -> Registered:
        if not (tmp_path / path).exists():
            write_onnx(tmp_path / path)
        fields: dict[str, Any] = {
            "name": "tiny", "task": "digits", "artifacts": [tmp_path / path], "validation": tmp_path / "set.npz",
        }  # fmt: skip
        return headrace.register(loaded=loaded, **{**fields, **changes})

    return register


@pytest.mark.kafka
@pytest.mark.models
def test_register_publishes_what_an_executor_elsewhere_can_load(
    say: Say, loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registrar's folder is gone, and the path in the record leads nowhere: the file comes from the store."""
    made = say(slo_ms_default=50.0)
    again = say()
    (tmp_path / "m.onnx").unlink()
    monkeypatch.setattr(opening, "_artifacts", None)
    opening.use(loaded.settings.artifacts)
    catalog = topic.read(loaded.settings.kafka)
    (variant,) = catalog.variants.values()
    of = catalog.versions.model_of(variant)
    assert of is not None
    elsewhere = {name: one.__replace__(path="/nowhere") for name, one in of.artifacts.items()}
    backend = opening.open_backend(variant, of.__replace__(artifacts=elsewhere))
    backend.load()
    rows = backend.run(np.eye(FEATURES, dtype="float32"))

    assert made.model == again.model == of
    assert catalog.tasks["digits"].slo_ms_default == 50.0  # the second registration said nothing of it
    assert catalog.versions.role_of(variant) is Role.STABLE
    np.testing.assert_array_equal(rows, 2 * np.eye(FEATURES, dtype="float32")[:, :3])
    assert [path.name for path in (tmp_path / "cache").glob("sha256/??/*")] == [of.artifacts["onnxruntime"].sha256]


@pytest.mark.kafka
@pytest.mark.models
def test_register_two_at_once_leaves_both_versions_and_one_that_answers(
    say: Say, loaded: Loaded, tmp_path: Path
) -> None:
    """Of one name and unlike content: each stands whole, and the release of whoever was first holds."""
    import onnx

    other = onnx.load(write_onnx(tmp_path / "n.onnx"))
    other.doc_string = "another"
    onnx.save(other, tmp_path / "n.onnx")
    write_onnx(tmp_path / "m.onnx")
    done: list[Registered] = []
    threads = [threading.Thread(target=lambda path=path: done.append(say(path))) for path in ("m.onnx", "n.onnx")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    catalog = topic.read(loaded.settings.kafka)

    assert len(done) == 2
    assert catalog.versions.of("tiny") == {made.model.version: made.model for made in done}
    assert catalog.releases["tiny"].stable in {made.model.version for made in done}
    assert len({made.model.version for made in done}) == 2


@pytest.mark.models
def test_command_checks_a_file_and_publishes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was measured, and what would be offered; no Kafka and no store is needed for it."""
    write_onnx(tmp_path / "m.onnx")
    np.savez(tmp_path / "set.npz", x=np.eye(FEATURES, dtype="float32")[[0, 1, 2, 2]], y=np.array([0, 1, 2, 0]))
    (tmp_path / "model.toml").write_text(
        'name = "tiny"\ntask = "digits"\nversion = "7"\nartifacts = ["m.onnx"]\nvalidation = "set.npz"\n'
    )
    store = f"artifacts.url={tmp_path / 'store'}"
    cli.load("register").main([str(tmp_path / "model.toml"), "--check", "-s", store], standalone_mode=False)

    assert capsys.readouterr().out.splitlines() == [
        "tiny 7 for digits: onnxruntime (0.0 MB)",
        "accuracy 75.0% (30.1% to 95.4%), measured: validation set, 4 items",
        "in order, nothing published: tiny@7/onnxruntime",
    ]
    assert not (tmp_path / "store").exists()


def test_register_unknown_argument_or_both_ways_is_refused(tmp_path: Path) -> None:
    """Before anything is read or reached."""
    with pytest.raises(BadManifest, match="unknown field `taks`"):
        headrace.register(name="tiny", taks="digits")
    with pytest.raises(BadManifest, match=r"model\.toml and name: say it in the file, or without one"):
        headrace.register("model.toml", name="tiny")


def test_try_steps_that_do_not_fit_are_refused() -> None:
    """As an executor would refuse them."""
    answers = np.zeros((2, 3), "float32")
    try_steps(model(), answers)
    with pytest.raises(BadSettings, match="k = 4 is not within 1 to 3"):
        try_steps(model(postprocess=Step(name="top-k", params={"k": 4})), answers)
    with pytest.raises(BadSettings, match="preprocess 'magic'"):
        try_steps(model(preprocess=Step(name="magic")), answers)
