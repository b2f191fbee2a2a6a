"""Between the store and generation: files of registered models come here, converted copies go there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from executors.backends.protocol import ArtifactBroken
from headrace.variants.registered import at_hand, stored
from registry.records import Accuracy, Artifact, Model
from registry.store import ArtifactSettings, open_artifacts
from tests.executors.models import model, variant

CONTENT, ITEMS = b"a model", b"a validation set"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def settings(tmp_path: Path) -> ArtifactSettings:
    return ArtifactSettings(url=str(tmp_path / "store"), cache=tmp_path / "cache")


def put(settings: ArtifactSettings, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    open_artifacts(settings).put_file(file)


def registered() -> Model:
    artifact = Artifact(path="", sha256=digest(CONTENT), bytes=len(CONTENT))
    measured = Accuracy(value=0.9, provenance="measured", n=10, dataset=digest(ITEMS))
    return model(artifacts={"onnxruntime": artifact}, accuracy=measured)


def test_at_hand_has_files_and_items_of_the_store(settings: ArtifactSettings, tmp_path: Path) -> None:
    """Wherever the registrar was: the store has both by their content."""
    put(settings, tmp_path, CONTENT)
    put(settings, tmp_path, ITEMS)

    with at_hand(registered(), settings) as (here, validation):
        assert Path(here.artifacts["onnxruntime"].path).read_bytes() == CONTENT
        assert validation is not None
        assert validation.read_bytes() == ITEMS


def test_at_hand_without_items_has_no_labels(settings: ArtifactSettings, tmp_path: Path) -> None:
    """A model that was registered without its validation set is still generated, in equal precision."""
    put(settings, tmp_path, CONTENT)

    with at_hand(registered(), settings) as (_, validation):
        assert validation is None


def test_at_hand_without_the_model_is_an_error(settings: ArtifactSettings, tmp_path: Path) -> None:
    """Nothing can be tried, and the message names the model."""
    put(settings, tmp_path, ITEMS)

    with pytest.raises(ArtifactBroken, match="tiny"), at_hand(registered(), settings):
        pass


def test_stored_copies_are_where_executors_look(settings: ArtifactSettings, tmp_path: Path) -> None:
    """The record leads to the store and not into the cache of whoever generated; other variants stay as they are."""
    file = tmp_path / "int8.onnx"
    file.write_bytes(CONTENT)
    own = variant("onnxruntime", artifact=Artifact(path=str(file), sha256=digest(CONTENT), bytes=len(CONTENT)))

    plain, copied = stored([variant("torch"), own], settings)

    assert plain == variant("torch")
    assert copied.artifact is not None
    assert Path(copied.artifact.path).is_relative_to(tmp_path / "store")
    assert Path(copied.artifact.path).read_bytes() == CONTENT
