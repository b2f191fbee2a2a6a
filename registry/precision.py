"""One ONNX file in another precision: 8-bit integers or 16-bit floats inside, the same inputs and outputs outside.

Runs in the child process of `headrace generate`: the converters hold several copies of the weights, and a crafted
file can make them take any time.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from streams.errors import ServerFault

Array = np.ndarray[Any, Any]

RECIPE = "2"  # counts up with every change of how models are converted
QUANTISED = {"ConvInteger", "MatMulInteger", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "DynamicQuantizeLSTM"}


class CannotConvert(ServerFault):
    """The model cannot be had in this precision."""

    code = "cannot_convert"
    retryable = False


def versions() -> dict[str, str]:
    """What a conversion depends on besides the model: this recipe, and the libraries."""
    return {"recipe": RECIPE, **{name: metadata.version(name) for name in ("onnx", "onnxruntime")}}


def convert(
    source: Path,
    target: Path,
    *,
    precision: str,
    input_name: str,
    calibration: Array | None = None,
    reduce_range: bool = False,
) -> None:
    """Write `source` in `precision` to `target`: int8-dynamic, int8-static or fp16.

    int8-static finds the range of every tensor on `calibration` (n, *item), and keeps a scale per channel of a weight:
    with one per tensor, EfficientNet-Lite0 agreed with its fp32 in 45-60 % of sample crops, with these in 88-90 %.
    int8-dynamic finds ranges anew in each batch; its weights are unsigned because ConvInteger knows no others.
    Raises: CannotConvert.
    """
    try:
        with _quiet(), tempfile.TemporaryDirectory() as scratch:
            if precision == "fp16":
                _to_fp16(source, target)
            else:
                prepared = Path(scratch) / "prepared.onnx"
                _prepare(source, prepared)
                _to_int8(prepared, target, precision, input_name, calibration, reduce_range)
            _check(target, precision)
    except (CannotConvert, MemoryError):
        raise
    except Exception as error:  # the converters raise anything, TypeError and bare Exception among them
        raise CannotConvert(f"{precision}: {type(error).__name__}: {error}") from error


def _to_int8(
    source: Path, target: Path, precision: str, input_name: str, calibration: Array | None, reduce_range: bool
) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    if precision == "int8-dynamic":
        quantize_dynamic(str(source), str(target), weight_type=QuantType.QUInt8, reduce_range=reduce_range)
        return
    if precision != "int8-static":
        raise CannotConvert(f"precision {precision!r} is not one of int8-dynamic, int8-static, fp16")
    if calibration is None or not len(calibration):
        raise CannotConvert("int8-static needs items to find ranges on: a validation set, or sample inputs")
    quantize_static(
        str(source),
        str(target),
        _items(input_name, calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _items(input_name: str, calibration: Array) -> Any:
    """The calibration items, one at a time, as the quantiser wants them: a base class of its own library."""
    from onnxruntime.quantization import CalibrationDataReader

    class Items(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(calibration)

        def get_next(self) -> dict[str, Array] | None:
            item = next(self._left, None)
            return None if item is None else {input_name: item[None]}

    return Items()


def _to_fp16(source: Path, target: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def _prepare(source: Path, target: Path) -> None:
    """Shapes inferred and constants folded, as the quantiser wants it."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(source), str(target), skip_symbolic_shape=True)  # it would import torch, for nothing here


def _check(target: Path, precision: str) -> None:
    """A quantiser that finds nothing to do writes the same model again; that is no other way to run it."""
    import onnx
    from onnx import TensorProto

    graph = onnx.load(target).graph
    if precision == "fp16":
        if any(weight.data_type == TensorProto.FLOAT16 for weight in graph.initializer):
            return
    elif any(node.op_type in QUANTISED for node in graph.node):
        return
    kinds = sorted({node.op_type for node in graph.node})
    raise CannotConvert(f"{precision}: nothing in the model could be converted; its operators are {kinds[:20]}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser logs advice that it has already been given."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
