"""torch on an NVIDIA GPU: exported programs under autocast, as CUDA graphs, one stream a lane.

Lanes of a variant share the weights and each has a stream, memory for inputs and outputs, and a graph for each batch
size: replaying one launches a whole network at once, where eager Python would launch hundreds of kernels one by one.
What cannot be captured (an operator that waits for the device) runs eagerly. A compiled variant is captured too:
torch's own graphs ("reduce-overhead") belong to the thread that compiled, and lanes run on any.

Never run on a GPU by us.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export.passes import move_to_device_pass

from executors.backends.device import Shared, require_fit, require_items
from executors.backends.harmless import require_harmless
from executors.backends.padding import doubling, pad, size_for
from executors.backends.protocol import Array, BackendMissing, LoadFailed, checked, rehearse
from executors.backends.pytorch import _loading as loading
from registry.records import Model, Variant
from streams.errors import ModelFailed

log = logging.getLogger(__name__)

CASTS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}
WARM_UPS = 3  # before a capture: libraries allocate their workspaces at the first calls, which a graph may not

Forward = Callable[[torch.Tensor], torch.Tensor]

_models: Shared[Forward] = Shared()


class TorchGpu:
    """One lane of an exported program on this process's device."""

    def __init__(
        self, path: Path, variant: Variant, model: Model, *, device: str = "cuda:0", cuda: Any = torch.cuda,
        graphs: bool = True,
    ) -> None:  # fmt: skip
        self._path, self._variant, self._model = path, variant, model
        self._device, self._cuda, self._graphs = torch.device(device), cuda, graphs
        self._release: Callable[[], bool | None] | None = None
        self._stream: Any = None
        self._pool: Any = None
        self._slots: dict[int, Slot] = {}
        self.batches = doubling(variant.batch_max)
        self.device_bytes = 0

    @property
    def versions(self) -> dict[str, str]:
        return {"torch": str(torch.__version__), "cuda": str(torch.version.cuda), "numpy": np.__version__}

    @property
    def captured(self) -> tuple[int, ...]:
        """The batch sizes that run as a graph."""
        return tuple(size for size, slot in sorted(self._slots.items()) if slot.graph is not None)

    def load(self) -> None:
        """Raises: BackendMissing, LoadFailed, ArtifactBroken."""
        name, cuda = self._variant.name, self._cuda
        if not cuda.is_available():
            raise BackendMissing(f"{name}: torch {torch.__version__} (CUDA {torch.version.cuda}) finds no device")
        if self._variant.precision not in CASTS:
            raise BackendMissing(
                f"{name}: precision {self._variant.precision!r} is not one of {', '.join(CASTS)} on a GPU"
            )
        free_bytes, total_bytes = cuda.mem_get_info(self._device)
        require_fit(name, needs_bytes=self._path.stat().st_size, free_bytes=free_bytes)
        before_bytes = cuda.memory_reserved(self._device)
        cuda.reset_peak_memory_stats(self._device)
        try:
            forward = self._take()
            self._stream = cuda.Stream(self._device)
            for size in reversed(self.batches):  # the largest first: smaller graphs then fit into its memory
                self._slots[size] = self._slot(size, forward)
            rehearse(self, self._model, self._variant)
        except torch.OutOfMemoryError as error:
            self.close()
            raise LoadFailed(
                f"{name}: batches of {self.batches[-1]} do not fit: {free_bytes >> 20} of {total_bytes >> 20} MiB of "
                f"{cuda.get_device_name(self._device)} were free ({str(error).splitlines()[0]})"
            ) from error
        except BaseException:
            self.close()
            raise
        self.device_bytes = max(0, cuda.max_memory_reserved(self._device) - before_bytes)

    def run(self, batch: Array) -> Array:
        assert self._slots, "run before load"
        require_items(batch, self._model, variant=self._variant.name)
        size = size_for(len(batch), self.batches)
        try:
            outputs = self._slots[size].run(pad(batch, size))
        except Exception as error:  # guards are AssertionError, operators RuntimeError, and more
            raise ModelFailed(f"{self._variant.name}: {type(error).__name__}: {error}") from error
        return checked(outputs, size, self._variant.name)[: len(batch)].copy()

    def close(self) -> None:
        self._slots.clear()
        self._pool = self._stream = None
        if self._release is not None:
            last, self._release = self._release(), None
            if last:
                self._cuda.empty_cache()  # else the allocator keeps what another process, or variant, may need

    def _take(self) -> Forward:
        key = (self._path, self._path.stat().st_mtime_ns, self._variant.precision, self._variant.compiled, self._device)
        forward, _ = _models.take(key, self._make)
        self._release = weakref.finalize(self, _models.give_back, key)  # also of a lane that nobody closed
        return forward

    def _make(self) -> Forward:
        """The program on the device, its weights there once."""
        require_harmless(self._path, "pt2", variant=self._variant.name)
        try:
            with loading:
                program = torch.export.load(self._path)
            module = move_to_device_pass(program, self._device).module().requires_grad_(requires_grad=False)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a bad archive raises anything from KeyError to RuntimeError
            raise LoadFailed(f"{self._variant.name}: torch cannot load {self._path.name}: {error}") from error
        called: Any = torch.compile(module, dynamic=False) if self._variant.compiled else module
        return forward(called, self._model.output_name, CASTS[self._variant.precision], self._device.type)

    def _slot(self, size: int, call: Forward) -> Slot:
        """Memory and, where it can be captured, a graph for one batch size."""
        cuda, shape = self._cuda, (size, *self._model.input_shape)
        inputs = torch.zeros(shape, dtype=_dtype(self._model.input_dtype), device=self._device)
        self._stream.wait_stream(cuda.current_stream(self._device))
        try:
            with torch.inference_mode(), cuda.stream(self._stream):
                outputs = call(inputs)
                for _ in range(WARM_UPS - 1):
                    outputs = call(inputs)
            self._stream.synchronize()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # guards are AssertionError, operators RuntimeError, and more
            raise LoadFailed(
                f"{self._variant.name}: a first batch of {list(shape)} {self._model.input_dtype}: {error}"
            ) from error
        graph, outputs = self._capture(call, inputs, outputs) if self._graphs else (None, outputs)
        return Slot(inputs, outputs, call, graph, self._stream, cuda)

    def _capture(self, call: Forward, inputs: torch.Tensor, outputs: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """A graph and the tensor that it writes, or None and `outputs`.

        Graphs of one lane share a pool: they never run at once, and outputs of one stay apart from another's, since all
        are alive. Other lanes allocate meanwhile, so only this thread's calls may spoil the capture.
        """
        graph = self._cuda.CUDAGraph()
        try:
            with (
                torch.inference_mode(),
                self._cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                captured = call(inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            log.warning(
                "no CUDA graph", extra={"variant": self._variant.name, "batch": len(inputs), "error": str(error)}
            )
            self._stream.synchronize()
            return None, outputs
        self._pool = self._pool or graph.pool()
        return graph, captured


class Slot:
    """One batch size of one lane: pinned memory on the host, memory on the device, and what runs between."""

    def __init__(
        self, inputs: torch.Tensor, outputs: torch.Tensor, call: Forward, graph: Any, stream: Any, cuda: Any
    ) -> None:
        self.graph = graph
        self._inputs, self._outputs, self._call, self._stream, self._cuda = inputs, outputs, call, stream, cuda
        pinned = inputs.device.type == "cuda"  # only from pinned memory does a copy run beside other streams' work
        self._host_in = torch.empty(inputs.shape, dtype=inputs.dtype, pin_memory=pinned)
        self._host_out = torch.empty(outputs.shape, dtype=outputs.dtype, pin_memory=pinned)

    def run(self, batch: Array) -> Array:
        """Shapes: `batch` is of the slot's size; the result is overwritten by the next run."""
        np.copyto(self._host_in.numpy(), batch, casting="no")
        with torch.inference_mode(), self._cuda.stream(self._stream):
            self._inputs.copy_(self._host_in, non_blocking=True)
            if self.graph is not None:
                self.graph.replay()
                outputs = self._outputs
            else:
                outputs = self._call(self._inputs)
            self._host_out.copy_(outputs, non_blocking=True)
        self._stream.synchronize()
        return self._host_out.numpy()


def forward(module: Callable[[torch.Tensor], Any], output: str, cast: torch.dtype | None, device: str) -> Forward:
    """The module with one output, under autocast to `cast`, and fp32 where that gave a smaller float.

    Autocast's cache of converted weights is off: a captured graph would read what the cache has freed since.
    """

    def call(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, dtype=cast or torch.bfloat16, enabled=cast is not None, cache_enabled=False):
            outputs = module(batch)
        if isinstance(outputs, dict):
            outputs = outputs[output]
        elif isinstance(outputs, (tuple, list)):
            outputs = outputs[0]
        result: torch.Tensor = outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs
        return result

    return call


def _dtype(name: str) -> torch.dtype:
    """torch's dtype of numpy's name."""
    return torch.from_numpy(np.empty(0, name)).dtype
