"""A folder of manifests -> records, or every problem with its file and field."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from registry import manifest
from registry.generate import BATCH_MAX_LARGE as LARGE
from registry.generate import BATCH_MAX_SMALL as SMALL
from registry.manifest import BadManifest
from registry.records import Model, Task, Variant

WEIGHTS = b"not really a network"


def write(folder: Path, home_name: str, **changes: Any) -> Path:
    """One model folder, with `changes` to its manifest."""
    home = folder / home_name
    home.mkdir()
    (home / "model.onnx").write_bytes(WEIGHTS)
    record: dict[str, Any] = {
        "type": "model", "name": home_name, "task": "digit-classification", "version": "1",
        "accuracy": {"value": 0.9, "provenance": "measured", "n": 10},
        "input_name": "digit", "input_shape": [8, 8], "input_dtype": "float32", "output_name": "probabilities",
        "preprocess": {"name": "tensor"}, "postprocess": {"name": "top-k", "params": {"k": 3}},
        "artifacts": {"onnxruntime": {"path": "model.onnx", "sha256": hashlib.sha256(WEIGHTS).hexdigest()}},
    }  # fmt: skip
    path = home / "model.json"
    path.write_text(json.dumps({**record, **changes}))
    return path


def test_read_models_give_task_models_and_variants(tmp_path: Path) -> None:
    """Two models of one task give the task once, and a one-core variant for each artifact; paths are absolute."""
    write(tmp_path, "a")
    write(
        tmp_path, "b", input_shape=[3, 224, 224], preprocess={"name": "image-crop-resize"}, task="image-classification"
    )

    records = manifest.read(tmp_path)

    tasks = [record for record in records if isinstance(record, Task)]
    models = [record for record in records if isinstance(record, Model)]
    assert [(task.name, "image/jpeg" in task.accepts) for task in tasks] == [
        ("digit-classification", False),
        ("image-classification", True),
    ]
    assert models[0].artifacts["onnxruntime"].path == str(tmp_path / "a" / "model.onnx")
    assert [record for record in records if isinstance(record, Variant)] == [
        Variant(name="a/onnxruntime", model="a", version="1", framework="onnxruntime", batch_max=SMALL),
        Variant(name="b/onnxruntime", model="b", version="1", framework="onnxruntime", batch_max=LARGE),
    ]


def test_read_tasks_file_wins_over_what_is_derived(tmp_path: Path) -> None:
    """A task record of the folder keeps its default SLO."""
    write(tmp_path, "a")
    task = {"type": "task", "name": "digit-classification", "slo_ms_default": 250.0}
    (tmp_path / "tasks.json").write_text(json.dumps([task]))

    assert manifest.read(tmp_path)[0] == Task(name="digit-classification", slo_ms_default=250.0)


def test_read_several_problems_are_reported_at_once(tmp_path: Path) -> None:
    """Each with its file and field: a wrong type, a bound, a missing artifact, a wrong digest."""
    one = write(tmp_path, "one", accuracy={"value": "high", "provenance": "measured"})
    two = write(
        tmp_path, "two", accuracy={"value": 90.0, "provenance": "measured"}, input_shape=[], input_dtype="float33"
    )
    three = write(tmp_path, "three", artifacts={"torch": {"path": "gone.pt2", "sha256": "0"}})
    four = write(tmp_path, "four", artifacts={"onnxruntime": {"path": "model.onnx", "sha256": "0" * 64}})

    with pytest.raises(BadManifest) as caught:
        manifest.read(tmp_path)

    message = caught.value.message
    assert f"{one}: Expected `float`, got `str` - at `$.accuracy.value`" in message
    assert f"{two}: accuracy.value 90 is outside 0 to 1" in message
    assert f"{two}: input_shape () must be positive" in message
    assert f"{two}: input_dtype 'float33' is no NumPy type" in message
    assert f"{three}: artifacts.torch.path 'gone.pt2' does not exist" in message
    assert f"{four}: artifacts.onnxruntime.sha256 is 000000000000..." in message


def test_read_same_name_twice_is_refused(tmp_path: Path) -> None:
    """Two folders may not describe one model."""
    write(tmp_path, "a")
    write(tmp_path, "b", name="a")

    with pytest.raises(BadManifest, match="model 'a' stands in more than one manifest"):
        manifest.read(tmp_path)


def test_read_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    """The message names the command that builds the examples."""
    with pytest.raises(BadManifest, match=r"python -m examples\.build"):
        manifest.read(tmp_path)


def test_read_unverified_does_not_hash(tmp_path: Path) -> None:
    """Large files need not be read where they were just verified."""
    write(tmp_path, "a", artifacts={"onnxruntime": {"path": "model.onnx", "sha256": "0" * 64}})

    assert len(manifest.read(tmp_path, verify=False)) == 3
