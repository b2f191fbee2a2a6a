"""Conversions: the same model in fewer bits, or the reason why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.precision import CannotConvert, convert
from tests.executors.models import CLASSES, FEATURES, WEIGHT, write_onnx

pytestmark = pytest.mark.models

ITEMS = np.linspace(-1, 1, 16 * FEATURES, dtype="float32").reshape(16, FEATURES)


def answers(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["y"], {"x": ITEMS})[0]


@pytest.mark.parametrize(
    ("precision", "error"), [("int8-static", 0.05), ("int8-dynamic", 0.05), ("fp16", 0.002)]
)  # of outputs up to 2: a step of 8 bits is 0.008
def test_convert_keeps_interface_and_answers(precision: str, error: float, tmp_path: Path) -> None:
    """Floats in and out under the same names, and nearly the same values."""
    target = tmp_path / "out.onnx"

    convert(write_onnx(tmp_path / "in.onnx"), target, precision=precision, input_name="x", calibration=ITEMS)

    got = answers(target)
    assert got.dtype == np.float32
    assert 0 < np.abs(got - ITEMS @ WEIGHT).max() < error or precision == "fp16"
    assert got.shape == (16, CLASSES)


def test_convert_uses_the_calibration_items_and_no_others(tmp_path: Path) -> None:
    """What lies beyond the calibrated range is cut off: ranges come from the items that were given."""
    target = tmp_path / "out.onnx"

    convert(write_onnx(tmp_path / "in.onnx"), target, precision="int8-static", input_name="x", calibration=ITEMS * 0.1)

    assert np.abs(answers(target)).max() < 0.25  # ten times less than the 2.0 of the original


def test_convert_without_calibration_is_refused(tmp_path: Path) -> None:
    """int8-static on nothing would choose ranges out of thin air."""
    with pytest.raises(CannotConvert, match="needs items to find ranges on"):
        convert(write_onnx(tmp_path / "in.onnx"), tmp_path / "out.onnx", precision="int8-static", input_name="x")


@pytest.mark.parametrize("precision", ["int8-dynamic", "fp16"])
def test_convert_with_nothing_to_convert_is_refused(precision: str, tmp_path: Path) -> None:
    """The same model under another name would be no other way to run it."""
    with pytest.raises(CannotConvert, match=r"nothing in the model could be converted; its operators are .*'Relu'"):
        convert(write_relu(tmp_path / "in.onnx"), tmp_path / "out.onnx", precision=precision, input_name="x")


@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-static", "fp16", "int4"])
def test_convert_of_garbage_is_refused_in_words(precision: str, tmp_path: Path) -> None:
    """Whatever a converter raises becomes one error, with the precision in it."""
    garbage = tmp_path / "in.onnx"
    garbage.write_bytes(b"not a model")

    with pytest.raises(CannotConvert, match=precision):
        convert(garbage, tmp_path / "out.onnx", precision=precision, input_name="x", calibration=ITEMS)


def write_relu(path: Path) -> Path:
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", FEATURES])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
