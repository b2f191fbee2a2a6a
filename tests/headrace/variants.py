"""A tiny model in two frameworks, sound or broken in one way, and what is needed to generate its variants."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.variants import bounded, menus
from headrace.variants.evidence import Evidence
from headrace.variants.generating import Generated, generate_variants
from headrace.variants.trying import work
from headrace.variants.work import Job
from registry.generate import Machine
from registry.records import Artifact, Model
from tests.executors.models import CLASSES, FEATURES, WEIGHT, model

ONNX = Machine(kind="test", cores=1, flags=frozenset({"avx512_vnni"}), frameworks=("onnxruntime",))


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run here, without the seconds that a child takes to import; what a child adds has tests of its own."""

    def run(job: Job, folder: Path, **_bounds: float) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in the child
            work(job, folder, lambda _stage, index=-1: None)

    monkeypatch.setattr(bounded, "run", run)


def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find a machine of one core with onnxruntime alone: a short menu."""
    monkeypatch.setattr(menus, "this_machine", lambda: ONNX)


def items(count: int = 60) -> Evidence:
    """Labelled by the model itself, so that fp32 is right on every one."""
    x = np.random.default_rng(0).uniform(-1, 1, (count, FEATURES)).astype("float32")
    y = (x @ WEIGHT).argmax(axis=1)
    return Evidence(x=x[20:], y=y[20:], calibration=x[:20], told=f"{count - 20} items", dataset="d")


def of_files(**paths: Path) -> Model:
    artifacts = {
        framework: Artifact(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        for framework, path in paths.items()
    }
    return model(artifacts=artifacts)


def generate(of: Model, out: Path, **changes: Any) -> Generated:
    return generate_variants(of, out=out, **{"items": items(), "machine": ONNX, **changes})


def reasons(made: Generated) -> dict[str, tuple[str, str]]:
    return {each.variant: (each.stage, each.reason) for each in made.refused}


def write_network(path: Path, nodes: list[Any], weights: dict[str, Any], *, classes: int = CLASSES) -> Path:
    """An ONNX file of these nodes, from `x` to `y`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
