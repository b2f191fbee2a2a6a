"""What every built model must be, whatever its task: two files that agree, for any batch, without surprises."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import numpy as np
import onnxruntime
import pytest
import torch

from examples.digits import build as digits
from examples.export import TOLERANCE
from examples.images import build as images
from examples.store import ModelArtifact
from executors.finishing import finish
from executors.processing import prepare

pytestmark = pytest.mark.models

NAMES = (*digits.NAMES, *images.SIZES)


@pytest.mark.parametrize("name", NAMES)
def test_onnx_and_torch_give_the_same_probabilities(built: dict[str, ModelArtifact], name: str) -> None:
    """At batch 1 and 7, to `TOLERANCE`, on noise of the right range; each row sums to one."""
    model = built[name].model
    session = onnxruntime.InferenceSession(model.artifacts["onnxruntime"].path)
    program = torch.export.load(model.artifacts["torch"].path).module()
    generator = np.random.default_rng(7)
    low, high = (0, 16) if model.task == digits.TASK else (-1, 1)
    for batch in (1, 7):
        items = generator.uniform(low, high, (batch, *model.input_shape)).astype(np.float32)
        (by_onnx,) = session.run([model.output_name], {model.input_name: items})
        with torch.inference_mode():
            by_torch = program(torch.from_numpy(items)).numpy()

        assert by_onnx.shape == by_torch.shape == (batch, len(model.labels))
        assert np.abs(by_onnx - by_torch).max() <= TOLERANCE
        np.testing.assert_allclose(by_onnx.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_onnx_batch_axis_is_free_and_named(built: dict[str, ModelArtifact], name: str) -> None:
    """The declared input and output are the manifest's, with `batch` in front."""
    model = built[name].model
    session = onnxruntime.InferenceSession(model.artifacts["onnxruntime"].path)
    (taken,), (given,) = session.get_inputs(), session.get_outputs()

    assert (taken.name, taken.type) == (model.input_name, "tensor(float)")
    assert taken.shape == ["batch", *model.input_shape]
    assert (given.name, given.shape) == (model.output_name, ["batch", len(model.labels)])


@pytest.mark.parametrize("name", NAMES)
def test_pt2_holds_no_pickle(built: dict[str, ModelArtifact], name: str) -> None:
    """No payload is marked as pickled and no example inputs are kept, so that loading unpickles nothing."""
    with zipfile.ZipFile(built[name].model.artifacts["torch"].path) as archive:
        payloads = [
            payload
            for file in archive.namelist()
            if file.endswith("_config.json")
            for payload in json.loads(archive.read(file))["config"].values()
        ]
        samples = [file for file in archive.infolist() if "sample_inputs" in file.filename]

    assert payloads
    assert not any(payload["use_pickle"] for payload in payloads)
    assert [file.file_size for file in samples] == [0]


@pytest.mark.parametrize("name", NAMES)
def test_executor_knows_the_steps_of_every_model(built: dict[str, ModelArtifact], name: str) -> None:
    """Both named steps exist and take these parameters: neither call raises."""
    model = built[name].model

    prepare(model.preprocess, model)
    finish(model.postprocess, model)


def test_build_of_what_is_built_imports_no_framework(built: dict[str, ModelArtifact]) -> None:
    """The second run only reads manifests and digests: no torch, no scikit-learn, no onnxruntime."""
    script = (
        "import sys; from examples.build import build_all; from examples.store import default_out;"
        "from rich.console import Console; built = build_all(default_out(), Console(quiet=True));"
        "print(len(built), [m for m in ('torch', 'sklearn', 'onnxruntime') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == f"{len(built)} []"
    assert answer.stderr == ""
