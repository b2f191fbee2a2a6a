"""Tiny models that tests build for themselves: y = 2 x[:, :3] in onnxruntime and in torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from registry.records import Accuracy, Artifact, Framework, Model, Step, Variant

FEATURES, CLASSES = 4, 3
WEIGHT = 2.0 * np.eye(FEATURES, CLASSES, dtype="float32")


def model(**changes: Any) -> Model:
    fields: dict[str, Any] = {
        "name": "tiny",
        "task": "digits",
        "version": "1",
        "accuracy": Accuracy(value=0.9, provenance="measured", n=10),
        "input_name": "x",
        "input_shape": (FEATURES,),
        "input_dtype": "float32",
        "output_name": "y",
        "preprocess": Step(name="tensor"),
        "postprocess": Step(name="top-k", params={"k": 1}),
        "labels": ("zero", "one", "two"),
    }
    return Model(**{**fields, **changes})


def variant(framework: Framework = "stub", **changes: Any) -> Variant:
    return Variant(**{"name": f"tiny-{framework}", "model": "tiny", "framework": framework, "batch_max": 8, **changes})


def registered(framework: Framework, path: Path, **changes: Any) -> Model:
    artifact = Artifact(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    return model(artifacts={framework: artifact}, **changes)


def write_onnx(path: Path, *, batch: int | str = "n") -> Path:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def write_pt2(path: Path, *, fixed: bool = False) -> Path:
    import torch

    layer = torch.nn.Linear(FEATURES, CLASSES, bias=False).eval()
    layer.load_state_dict({"weight": torch.from_numpy(WEIGHT.T.copy())})
    shapes = None if fixed else ({0: torch.export.Dim("n", max=64)},)
    torch.export.save(torch.export.export(layer, (torch.zeros(2, FEATURES),), dynamic_shapes=shapes), path)
    return path
