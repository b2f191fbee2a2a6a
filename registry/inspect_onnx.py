"""An ONNX file: what it holds, and onnxruntime's session of it. Only in the child of `registry/inspecting.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from registry.archives import BadArtifact
from registry.inspection import Array, Opened, Request
from registry.programs import UnsafeArtifact

DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"}
DTYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64", "tensor(uint8)": "uint8",
    "tensor(int8)": "int8", "tensor(uint16)": "uint16", "tensor(int16)": "int16", "tensor(int32)": "int32",
    "tensor(int64)": "int64", "tensor(bool)": "bool",
}  # fmt: skip
ELEMENTS = {"float32": 4, "float64": 8, "float16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1}


def opened(request: Request, folder: Path) -> Opened:
    """Raises: BadArtifact, UnsafeArtifact."""
    path, name = folder / request.file, request.name
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's errors have a base that is not public
        raise BadArtifact(f"{name} is no ONNX file, or is damaged: {error}") from error
    if not model.graph.node or not model.opset_import:
        raise BadArtifact(f"{name} is no ONNX file, or is truncated: it has no nodes or no opset")
    _check_domains(model, name)
    for tensor in _tensors(model.graph, model.functions):
        _check_tensor(tensor, name)
    versions = {"onnxruntime": ort.__version__, "onnx": onnx.__version__, "numpy": np.__version__}
    del model
    return _session(path, request, versions)


def _session(path: Path, request: Request, versions: dict[str, str]) -> Opened:
    name = request.name
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no other base
        raise BadArtifact(f"onnxruntime cannot load {name}: {str(error)[:500]}") from error
    inputs, outputs = session.get_inputs(), {output.name: output for output in session.get_outputs()}
    if len(inputs) != 1 or (request.input_name and inputs[0].name != request.input_name):
        wanted = repr(request.input_name) if request.input_name else "exactly one"
        raise BadArtifact(f"{name} has inputs {[one.name for one in inputs]}; {wanted} is wanted")
    output = request.output_name or (next(iter(outputs)) if len(outputs) == 1 else "")
    if output not in outputs:
        raise BadArtifact(f"{name} has outputs {list(outputs)}; name one of them as output.name, not {output!r}")
    (found,) = inputs
    if found.type not in DTYPES:
        raise BadArtifact(f"{name} takes {found.type}; one of {', '.join(DTYPES)} is wanted")
    if not found.shape or isinstance(found.shape[0], int):
        raise BadArtifact(
            f"{name} takes {found.shape}: its first axis must be the batch, of any size; export with a dynamic axis"
        )

    def run(batch: Array) -> Array:
        (rows,) = session.run([output], {found.name: batch})
        return np.asarray(rows)

    return Opened(
        input_name=found.name, item_shape=tuple(size if isinstance(size, int) else None for size in found.shape[1:]),
        input_dtype=DTYPES[found.type], output_name=output, run=run, versions=versions,
    )  # fmt: skip


def _check_domains(model: Any, name: str) -> None:
    used = {node.domain for graph in _graphs(model.graph) for node in graph.node}
    if foreign := sorted(used - DOMAINS - {function.domain for function in model.functions}):
        raise BadArtifact(f"{name} needs operators of {foreign}, which come from a library; use those of ONNX")


def _check_tensor(tensor: Any, name: str) -> None:
    if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise UnsafeArtifact(
            f"{name}: {tensor.name!r} stands in another file ({_location(tensor)!r}); save all in one, for instance "
            "with onnx.save(model, path, save_as_external_data=False)"
        )
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, TypeError) as odd:
        raise BadArtifact(f"{name}: {tensor.name!r} has no element type that is known") from odd
    if dtype.kind not in "fiub":
        return  # strings, and types of less than a byte, whose size onnxruntime checks
    claimed = math.prod(tensor.dims) * ELEMENTS.get(dtype.name, 1)
    if min(tensor.dims, default=0) < 0 or (
        tensor.raw_data and dtype.name in ELEMENTS and claimed != len(tensor.raw_data)
    ):
        raise BadArtifact(f"{name}: {tensor.name!r} claims {claimed} bytes, and has {len(tensor.raw_data)}")
    if not tensor.raw_data and math.prod(tensor.dims) > tensor.ByteSize() * 8:
        raise BadArtifact(f"{name}: {tensor.name!r} claims {claimed} bytes, and has {tensor.ByteSize()}")
    if dtype.kind != "f":
        return
    values = onnx.numpy_helper.to_array(tensor)
    if np.isnan(values).any():
        raise BadArtifact(
            f"{name}: {int(np.isnan(values).sum())} weights of {tensor.name!r} are NaN; train or export anew"
        )


def _location(tensor: Any) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "?")[:120]


def _graphs(graph: Any) -> Iterator[Any]:
    pending = [graph]
    while pending:
        one = pending.pop()
        yield one
        for node in one.node:
            for attribute in node.attribute:
                pending += [attribute.g, *attribute.graphs] if attribute.g.node else list(attribute.graphs)


def _tensors(graph: Any, functions: Any) -> Iterator[Any]:
    """Every constant, wherever it stands: in initialisers, in attributes of nodes, in graphs within, in functions."""
    for one in (*_graphs(graph), *functions):
        yield from getattr(one, "initializer", ())
        for sparse in getattr(one, "sparse_initializer", ()):
            yield sparse.values
            yield sparse.indices
        for node in one.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
