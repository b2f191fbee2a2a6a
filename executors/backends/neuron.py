"""AWS Inferentia: models traced for a few batch sizes, padded up to them, on the one NeuronCore of this process.

A traced model takes one shape. {1, batch_max} are traced, since each takes minutes, and what is traced is kept by
everything that it depends on, the compiler's version first. Inf2's SDK runs in this process; Inf1's ends at Python
3.10 and runs in a child with an interpreter of its own. Never run on a NeuronCore by us.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from executors.backends.compiled import Compiled
from executors.backends.device import Shared, require_items
from executors.backends.harmless import require_harmless
from executors.backends.neuron_child import Child
from executors.backends.neuron_sdk import SDKS, Sdk, casts, explain
from executors.backends.neuron_worker import Engine
from executors.backends.padding import ends, pad, size_for
from executors.backends.protocol import Array, BackendMissing, LoadFailed, checked, rehearse
from executors.probing import installed, interpreter
from registry.records import Model, Variant
from streams.errors import ModelFailed

TRACED = "traced.pt"

_runtimes: Shared[Runtime] = Shared()


class Runtime(Protocol):
    """What compiles and runs: in this process or in a child."""

    def versions(self) -> dict[str, str]: ...
    def compile(self, order: dict[str, Any]) -> None: ...
    def load(self, path: Path) -> int: ...
    def unload(self, handle: int) -> None: ...
    def run(self, handle: int, batch: Array) -> Array: ...
    def close(self) -> None: ...


class Inside:
    """The SDK in this process."""

    def __init__(self, sdk: Sdk) -> None:
        try:
            self._engine = Engine(sdk.module, sdk.distribution, sdk.compiler)
        except ImportError as error:  # the public index's placeholder raises it too
            why, todo = explain(sdk, installed(sdk), error=str(error)) or (str(error), f"see {sdk.page}")
            raise BackendMissing(f"{why}; {todo}") from error
        self.versions = self._engine.versions

    def compile(self, order: dict[str, Any]) -> None:
        try:
            self._engine.compile(order)
        except Exception as error:  # the compiler raises anything, and ends processes of its own
            raise LoadFailed(f"{type(error).__name__}: {error}") from error

    def load(self, path: Path) -> int:
        try:
            return self._engine.load(str(path))
        except Exception as error:  # as above
            raise LoadFailed(f"{type(error).__name__}: {error}") from error

    def unload(self, handle: int) -> None:
        self._engine.unload(handle)

    def run(self, handle: int, batch: Array) -> Array:
        try:
            outputs: Array = self._engine.run(handle, batch)
        except Exception as error:  # as above
            raise ModelFailed(f"{type(error).__name__}: {error}") from error
        return outputs

    def close(self) -> None:
        """The runtime keeps the core until the process ends."""


def runtime(sdk: Sdk) -> Runtime:
    """Where this SDK runs.

    Raises: BackendMissing.
    """
    if sdk.hardware == "inf2":
        return Inside(sdk)
    python = interpreter(sdk)
    if python is None:
        why, todo = explain(sdk, installed(sdk)) or ("", "")
        raise BackendMissing(f"{why}; {todo}")
    return Child(sdk, python)


class Neuron:
    """One lane of a variant: its traced models, loaded onto this process's core."""

    def __init__(
        self, path: Path, variant: Variant, model: Model, *, cache: Compiled | None = None,
        opened: Callable[[Sdk], Runtime] = runtime,
    ) -> None:  # fmt: skip
        self._path, self._variant, self._model = path, variant, model
        self._sdk, self._cache, self._opened = SDKS[variant.hardware], cache or Compiled(), opened
        self._runtime: Runtime | None = None
        self._release: Callable[[], object] | None = None
        self._handles: dict[int, int] = {}
        self.batches = ends(variant.batch_max)
        self.device_bytes = 0  # the runtime tells a process nothing of its core's memory

    @property
    def versions(self) -> dict[str, str]:
        own = {} if self._runtime is None else self._runtime.versions()
        return {"numpy": np.__version__, **own}

    def load(self) -> None:
        """Raises: BackendMissing, LoadFailed, ArtifactBroken."""
        form, arguments = self._form(), casts(self._sdk, self._variant.precision)
        if arguments is None:
            raise BackendMissing(f"{self._variant.name}: {self._sdk.compiler} has no {self._variant.precision}")
        try:
            self._runtime, _ = _runtimes.take(self._sdk.hardware, lambda: self._opened(self._sdk))
            leave = (self._runtime, self._handles, self._sdk.hardware)
            self._release = weakref.finalize(self, _leave, *leave)  # also of a lane that nobody closed
            for size in self.batches:
                self._handles[size] = self._traced(self._runtime, size, form, arguments)
            rehearse(self, self._model, self._variant)
        except LoadFailed as error:
            self.close()
            raise LoadFailed(f"{self._variant.name}: {error.message}") from error
        except BackendMissing as error:
            self.close()
            raise BackendMissing(f"{self._variant.name}: {error.message}") from error
        except BaseException:
            self.close()
            raise

    def run(self, batch: Array) -> Array:
        assert self._runtime is not None, "run before load"
        require_items(batch, self._model, variant=self._variant.name)
        size = size_for(len(batch), self.batches)
        try:
            outputs = self._runtime.run(self._handles[size], pad(batch, size))
        except ModelFailed as error:
            raise ModelFailed(f"{self._variant.name}: {error.message}") from error
        return checked(outputs, size, self._variant.name)[: len(batch)]

    def close(self) -> None:
        self._runtime = None
        if self._release is not None:
            self._release()
            self._release = None

    def _traced(self, runtime: Runtime, size: int, form: str, arguments: list[str]) -> int:
        """The handle of one size, compiled if nobody did before."""
        with self._path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        parts = {
            "artifact": digest, "hardware": self._variant.hardware, "batch": str(size),
            "output": self._model.output_name, "shape": str(self._model.input_shape), "dtype": self._model.input_dtype,
            "arguments": " ".join(arguments), **runtime.versions(),
        }  # fmt: skip
        with self._cache.place(parts) as place:
            traced = place / TRACED
            if not traced.exists():
                runtime.compile({
                    "source": str(self._path), "format": form, "target": str(traced), "arguments": arguments,
                    "shape": [size, *self._model.input_shape], "dtype": self._model.input_dtype,
                    "output": self._model.output_name,
                })  # fmt: skip
            return runtime.load(traced)

    def _form(self) -> Literal["pt2", "torchscript"]:
        """How the artifact is read. torch 1.13, the last for Inf1, has no exported programs."""
        artifact = self._variant.artifact or self._model.artifacts.get(self._variant.framework)
        said = artifact.format if artifact is not None else ""
        if said not in {"", "pt2", "torchscript"}:
            raise LoadFailed(f"{self._variant.name}: {said} cannot be traced; register pt2 or torchscript")
        pt2 = said == "pt2" or (not said and self._path.suffix == ".pt2")
        form: Literal["pt2", "torchscript"] = "pt2" if pt2 else "torchscript"
        if form == "pt2" and self._sdk.hardware == "inf1":
            raise LoadFailed(
                f"{self._variant.name}: {self._sdk.distribution} reads no exported program; register TorchScript, "
                "written by torch 1.13 or older"
            )
        require_harmless(self._path, form, variant=self._variant.name)
        return form


def _leave(runtime: Runtime, handles: dict[int, int], hardware: str) -> None:
    """Give a lane's models back, and with the last lane the runtime."""
    for handle in handles.values():
        runtime.unload(handle)
    handles.clear()
    if _runtimes.give_back(hardware):
        runtime.close()
