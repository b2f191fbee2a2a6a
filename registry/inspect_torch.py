"""torch's artifacts: exported program, TorchScript, or a factory with a state dict; all end as an exported program.

Executors load exported programs alone: so neither TorchScript nor the operator's own code is ever needed there. Only
in the child of `registry/inspecting.py`.
"""

from __future__ import annotations

import importlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from registry import archives, dataset
from registry.archives import BadArtifact
from registry.inspection import PROGRAM, SAMPLES, Array, Opened, Request
from registry.scripts import check_script

RTOL, ATOL = 1e-4, 1e-5  # of a program and of what it was made from


def opened(request: Request, folder: Path) -> Opened:
    """Raises: BadArtifact, UnsafeArtifact."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of TorchScript's deprecation: this child is how one leaves it
    match request.kind:
        case "pt2":
            return _program(request, folder)
        case "torchscript":
            module = _script(request, folder)
        case _:
            module = _made(request, folder)
    return _exported(request, folder, module)


def _program(request: Request, folder: Path) -> Opened:
    path, kept = folder / request.file, False
    if not archives.check_program(path, bytes_max=request.bytes_max):
        archives.stripped(path, folder / PROGRAM, bytes_max=request.bytes_max)
        path, kept = folder / PROGRAM, True
        assert archives.check_program(path, bytes_max=request.bytes_max)
    try:
        program = torch.export.load(path)
        module = program.module()
    except MemoryError:
        raise
    except Exception as error:  # a bad archive raises anything from KeyError to RuntimeError
        raise BadArtifact(f"torch {torch.__version__} cannot load {request.name}: {_short(error)}") from error
    return _opened(request, program, module, kept)


def _opened(request: Request, program: Any, module: Callable[..., Any], kept: bool) -> Opened:
    _check_weights({**program.state_dict, **program.constants}, request.name)
    names = set(program.graph_signature.user_inputs)
    inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    values = [node.meta.get("val") for node in inputs]
    if len(inputs) != 1 or not isinstance(values[0], torch.Tensor) or values[0].ndim < 2:
        raise BadArtifact(
            f"{request.name} takes {[node.name for node in inputs]}; exactly one tensor is wanted, the batch first"
        )
    sizes: Any = values[0].shape  # of ints and symbols
    dtype = str(values[0].dtype).removeprefix("torch.")
    if isinstance(sizes[0], int):
        raise BadArtifact(
            f"{request.name} takes batches of {sizes[0]} only; export with dynamic_shapes=({{0: Dim('batch')}},), "
            "from an example of two items or more"
        )

    def run(batch: Array) -> Array:
        return _rows(module, batch, request.output_name)

    return Opened(
        input_name=request.input_name or inputs[0].name,
        item_shape=tuple(size if isinstance(size, int) else None for size in sizes[1:]), input_dtype=dtype,
        output_name=request.output_name or "output", run=run,
        versions={"torch": str(torch.__version__), "numpy": np.__version__}, program=kept,
    )  # fmt: skip


def _script(request: Request, folder: Path) -> Any:
    path = folder / request.file
    check_script(path, bytes_max=request.bytes_max)
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except MemoryError:
        raise
    except Exception as error:
        raise BadArtifact(f"torch {torch.__version__} cannot load {request.name}: {_short(error)}") from error


def _made(request: Request, folder: Path) -> Any:
    """The operator's factory, called without arguments, with the state dict loaded into what it made."""
    where, _, what = request.factory.partition(":")
    try:
        module = getattr(importlib.import_module(where), what)()
    except Exception as error:  # their code
        raise BadArtifact(f"factory {request.factory}: {_short(error)}") from error
    if not isinstance(module, torch.nn.Module):
        raise BadArtifact(f"factory {request.factory} made a {type(module).__name__}, not a torch.nn.Module")
    try:
        state = torch.load(folder / request.file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise BadArtifact(
            f"{request.name} is no state dict of plain tensors, as torch.save(model.state_dict(), path) writes: "
            f"{_short(error)}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise BadArtifact(f"{request.name} holds a {type(state).__name__}, not a state dict of tensors")
    _check_weights(state, request.name)
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as unlike:
        raise BadArtifact(f"{request.name} does not fit {request.factory}: {_short(unlike)}") from unlike
    return module.eval()


def _exported(request: Request, folder: Path, module: Any) -> Opened:
    """An exported program of `module`, which must give the same answers, also to batches that it was not made with."""
    _check_weights(dict(module.state_dict()), request.name)
    example = _example(request, folder)
    try:
        if isinstance(module, torch.jit.ScriptModule):
            from torch._export.converter import TS2EPConverter  # the only way that torch has

            program = TS2EPConverter(module, (example[:2],), {}).convert()
        else:
            batch = torch.export.Dim("batch", min=1)
            program = torch.export.export(module, (example[:2],), dynamic_shapes=({0: batch},))
        program.example_inputs = None
        torch.export.save(program, folder / PROGRAM)
    except MemoryError:
        raise
    except Exception as error:  # an export fails in any way that the network's code can
        raise BadArtifact(
            f"{request.name} cannot be made an exported program, which is what executors load: {_short(error)}; export "
            "it yourself with torch.export.export, or register it as ONNX"
        ) from error
    if not archives.check_program(folder / PROGRAM, bytes_max=request.bytes_max):
        archives.stripped(folder / PROGRAM, folder / f"{PROGRAM}.stripped", bytes_max=request.bytes_max)
        (folder / f"{PROGRAM}.stripped").replace(folder / PROGRAM)
    program = torch.export.load(folder / PROGRAM)
    made = _opened(request, program, program.module(), kept=True)
    for size in (1, 2, SAMPLES):
        items = example.numpy()[:size]
        if not np.allclose(made.run(items), _rows(module, items, request.output_name), rtol=RTOL, atol=ATOL):
            raise BadArtifact(f"{request.name} answers otherwise as an exported program, in a batch of {size}")
    return made


def _example(request: Request, folder: Path) -> torch.Tensor:
    if request.dataset:
        items = dataset.load(folder / request.dataset).x[:SAMPLES]
        items = np.resize(items, (SAMPLES, *items.shape[1:]))  # repeated, if there are fewer
    elif request.input_shape:
        items = np.random.default_rng(0).random((SAMPLES, *request.input_shape))
    else:
        raise BadArtifact(f"{request.name}: name input.shape, one item without the batch axis, or a validation set")
    return torch.from_numpy(items.astype(request.input_dtype or "float32"))


def _rows(module: Callable[..., Any], batch: Array, output_name: str) -> Array:
    with torch.inference_mode():
        outputs = module(torch.from_numpy(batch if batch.flags.writeable else batch.copy()))
    if isinstance(outputs, dict):
        if output_name not in outputs:
            raise BadArtifact(f"outputs are {list(outputs)}; name one of them as output.name, not {output_name!r}")
        outputs = outputs[output_name]
    elif isinstance(outputs, tuple | list):
        outputs = outputs[0]
    return np.asarray(outputs.detach().numpy())


def _check_weights(tensors: dict[str, Any], name: str) -> None:
    for key, tensor in tensors.items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
            raise BadArtifact(
                f"{name}: {int(torch.isnan(tensor).sum())} weights of {key!r} are NaN; train or export anew"
            )


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
