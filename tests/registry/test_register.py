"""A registration: checked as a whole, kept as a whole, or not at all."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry import dataset, inspection, register
from registry.archives import BadArtifact
from registry.catalog import Catalog
from registry.confined import Limits
from registry.dataset import BadDataset, Dataset
from registry.inspection import Array, Findings, Request
from registry.records import Accuracy, Model, Step, encode
from registry.register import VersionTaken
from registry.register_checks import accuracy_of, check_labels, compare
from registry.registration import Input, Published, Registration
from streams.blobs import LocalStore, S3Store
from streams.errors import BadSettings, StoreUnreachable
from tests.executors.models import CLASSES, FEATURES, write_onnx
from tests.streams.faulty import s3

X = np.eye(FEATURES, dtype="float32")[[0, 1, 2, 0, 1, 2]] + 0.1
Y = np.array([0, 1, 2, 0, 1, 1])  # the last one is answered otherwise


def steps(model: Model, answers: Array) -> None:
    """None are tried: they are the executors'."""


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., Registration]:
    write_onnx(tmp_path / "m.onnx")
    np.savez(tmp_path / "set.npz", x=X, y=Y)

    def say(**changes: Any) -> Registration:
        fields: dict[str, Any] = {
            "name": "tiny", "task": "digits", "artifacts": (str(tmp_path / "m.onnx"),),
            "validation": str(tmp_path / "set.npz"), "labels": ("zero", "one", "two"),
        }  # fmt: skip
        return Registration(**{**fields, **changes})

    return say


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """In place of the child, which has tests of its own: what it was asked, and y = 2 x[:3]."""
    asked: list[Request] = []

    def inspect(request: Request, folder: Path) -> tuple[Findings, Array]:
        asked.append(request)
        assert (folder / request.file).is_file()
        items = dataset.load(folder / request.dataset).x if request.dataset else X
        answers = 2 * items[:, :CLASSES]
        findings = Findings(
            input_name="x", input_shape=(FEATURES,), input_dtype="float32", output_name="y",
            answers_shape=answers.shape,
        )  # fmt: skip
        return findings, answers

    monkeypatch.setattr(inspection, "inspect", inspect)
    return asked


@pytest.mark.models
def test_register_one_model_gives_records_and_keeps_its_files(
    tmp_path: Path, said: Callable[..., Registration]
) -> None:
    """Through the real child: accuracy with its interval, a version of the content, the files in the store."""
    store = LocalStore(tmp_path / "store")

    made = register.register(said(), store, steps=steps)

    digest = hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()
    held = hashlib.sha256((tmp_path / "set.npz").read_bytes()).hexdigest()
    artifact = made.model.artifacts["onnxruntime"]
    assert (artifact.sha256, artifact.format, artifact.bytes) == (digest, "onnx", (tmp_path / "m.onnx").stat().st_size)
    assert Path(artifact.path).read_bytes() == (tmp_path / "m.onnx").read_bytes()
    assert Path(artifact.path).is_relative_to(store.root)
    assert store.exists(f"sha256:{held}")
    accuracy = made.model.accuracy
    assert (accuracy.value, accuracy.n, accuracy.dataset, accuracy.provenance) == (5 / 6, 6, held, "measured")
    assert accuracy.low is not None
    assert accuracy.high is not None
    assert accuracy.low < 5 / 6 < accuracy.high
    assert made.model.postprocess == Step(name="top-k", params={"k": 3})
    assert [variant.name for variant in made.variants] == ["tiny/onnxruntime"]
    assert {variant.version for variant in made.variants} == {made.model.version}


@pytest.mark.models
def test_register_claims_of_a_file_larger_than_allowed_are_refused(
    tmp_path: Path, said: Callable[..., Registration]
) -> None:
    """4 GB that take no room on the disk: neither read nor copied."""
    with (tmp_path / "big.onnx").open("wb") as file:
        file.truncate(4_000_000_001)

    with pytest.raises(BadArtifact, match=r"big\.onnx has 4000000001 bytes > 4000000000; \[artifacts\] size_max_bytes"):
        register.register(said(artifacts=(str(tmp_path / "big.onnx"),)), None, steps=steps, limits=Limits())


def test_register_only_checking_keeps_nothing(
    tmp_path: Path, said: Callable[..., Registration], looked: list[Request]
) -> None:
    """And the same content is the same version, whatever its files are called."""
    (tmp_path / "n.onnx").write_bytes((tmp_path / "m.onnx").read_bytes())
    first = register.register(said(), None, steps=steps)
    second = register.register(said(artifacts=(str(tmp_path / "n.onnx"),)), None, steps=steps)
    other = register.register(said(labels=("a", "b", "c")), None, steps=steps)

    assert first.model.version == second.model.version != other.model.version
    assert len(first.model.version) == 12
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "n.onnx", "set.npz"}


def test_register_anything_wrong_keeps_nothing(
    tmp_path: Path, said: Callable[..., Registration], looked: list[Request]
) -> None:
    """Whichever check it fails, the store stays empty."""
    store = LocalStore(tmp_path / "store")

    def refuse(model: Model, answers: Array) -> None:
        raise BadSettings("no such step")

    for registration, error, told in (
        (said(labels=("a", "b")), BadArtifact, "labels has 2 names, and the model 3 outputs"),
        (said(artifacts=(str(tmp_path / "gone.onnx"),)), BadArtifact, "is no file"),
        (said(artifacts=(str(tmp_path),)), BadArtifact, "of its ending one of"),
        (said(validation=str(tmp_path / "gone.npz")), BadDataset, "is no file"),
        (said(validation=str(tmp_path / "m.onnx")), BadDataset, r"is no \.npz"),
    ):
        with pytest.raises(error, match=told):
            register.register(registration, store, steps=steps)
    with pytest.raises(BadSettings, match="no such step"):
        register.register(said(), store, steps=refuse)

    assert not list(store.root.glob("sha256/*/*"))


def test_register_a_version_twice_with_other_files_is_refused(
    said: Callable[..., Registration], looked: list[Request], tmp_path: Path
) -> None:
    """With the same files it is the same."""
    first = register.register(said(version="1"), None, steps=steps).model
    register.register(said(version="1"), None, steps=steps, known={"1": first})
    with (tmp_path / "m.onnx").open("ab") as file:
        file.write(b"x")

    with pytest.raises(VersionTaken, match="tiny 1 is registered with other files"):
        register.register(said(version="1"), None, steps=steps, known={"1": first})
    register.register(said(version="2"), None, steps=steps, known={"1": first})


def test_register_in_any_order_of_two_registrars_leaves_whole_models(
    said: Callable[..., Registration], looked: list[Request], tmp_path: Path
) -> None:
    """Two versions published at once, record by record in any order: both stand, each with its own files."""
    store = LocalStore(tmp_path / "store")
    first = register.register(said(version="1"), store, steps=steps)
    with (tmp_path / "m.onnx").open("ab") as file:
        file.write(b"x")
    second = register.register(said(version="2"), store, steps=steps)
    for places in itertools.combinations(range(6), 3):
        catalog = Catalog()
        own, other = iter(first.records), iter(second.records)
        for place in range(6):
            record = next(own) if place in places else next(other)
            catalog.apply(record.key, encode(record))

        assert catalog.versions.of("tiny") == {"1": first.model, "2": second.model}
        for variant in catalog.variants.values():
            model = catalog.versions.model_of(variant)
            assert model is not None
            assert store.exists(f"sha256:{model.artifacts[variant.framework].sha256}")
        assert {variant.version for variant in catalog.variants.values()} == {"1", "2"}


def test_register_s3_that_fails_publishes_nothing(
    said: Callable[..., Registration], looked: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """500s are tried again; a bucket that stays away is told, and there are no records to publish."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    with s3() as served:
        store = S3Store("values", "models", endpoint=served.endpoint, region="us-east-1", away_s=0.0)
        served.faults.extend(["500", "hang-up"])
        made = register.register(said(), store, steps=steps)
        served.faults.extend(["500"] * 3)
        with pytest.raises(StoreUnreachable, match="InternalError"):
            register.register(said(), store, steps=steps)
        kept = store.exists(f"sha256:{made.model.artifacts['onnxruntime'].sha256}")
        store._client.close()

    assert kept
    assert made.model.artifacts["onnxruntime"].path == ""


def test_register_published_accuracy_stays_marked(said: Callable[..., Registration], looked: list[Request]) -> None:
    """Without a validation set; the inputs are drawn then."""
    published = Published(value=0.75, source="a paper")
    made = register.register(said(validation="", accuracy=published, input=Input(shape=(FEATURES,))), None, steps=steps)

    assert made.model.accuracy == Accuracy(value=0.75, provenance="published", source="a paper")
    assert looked[0].dataset == ""


def test_compare_answers_of_two_frameworks() -> None:
    """Within the tolerance the largest difference is told, beyond it the item."""
    answers = np.ones((4, 3), "float32")
    near, far = answers + 1e-4, answers.copy()
    far[2, 1] = 1.5

    assert compare({"onnxruntime": answers, "torch": near}, 1e-3) == {"torch": pytest.approx(1e-4, rel=1e-2)}
    with pytest.raises(BadArtifact, match=r"and torch differ by 0\.5 at item 2, more than tolerance = 0\.001"):
        compare({"onnxruntime": answers, "torch": far}, 1e-3)
    with pytest.raises(BadArtifact, match=r"answers \[3\] to an item, torch \[2\]"):
        compare({"onnxruntime": answers, "torch": answers[:, :2]}, 1e-3)


def whole(y: Array) -> Dataset:
    return Dataset(x=np.zeros((len(y), 1)), y=y, sha256="d")


def test_accuracy_of_guessing_is_noted_and_of_no_classes_refused(said: Callable[..., Registration]) -> None:
    """A shuffled y registers, but not in silence."""
    answers = np.tile(np.eye(3, dtype="float32"), (60, 1))
    notes: list[str] = []
    accuracy_of(said(), answers, whole(np.arange(180) % 3), notes)
    well = list(notes)
    accuracy_of(said(), answers, whole((np.arange(180) + 1) % 3), notes)

    assert well == []
    assert "no more than by guessing" in notes[0]
    with pytest.raises(BadArtifact, match=r"answers of \[2, 2\] to an item are no scores"):
        accuracy_of(said(), np.zeros((1, 2, 2)), whole(np.zeros(1)), [])


def test_check_labels_class_beyond_the_outputs_is_refused(said: Callable[..., Registration]) -> None:
    """y counts from 0."""
    with pytest.raises(BadDataset, match="has class 3, and the model outputs 0 to 2"):
        check_labels(said(), np.zeros((2, 3)), whole(np.array([0, 3])))
