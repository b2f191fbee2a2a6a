"""Interfaces of devices that are not here: each records what it is asked, and computes on the CPU.

They stand for the documented calls of onnxruntime's CUDA build and of torch.cuda. Nothing here shows that a GPU would
do the same; it shows that ours makes these calls, in this order, and takes from them what it should.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import onnxruntime
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from executors.devices import CUDA, TENSORRT, Gpu


def gpu(free_mib: int = 20_000) -> Gpu:
    return Gpu(
        index=0, name="NVIDIA A10G", uuid="GPU-3a", memory_bytes=23_028 << 20, free_bytes=free_mib << 20,
        driver="550.90", capability="8.6",
    )  # fmt: skip


def falling(*free_mib: int) -> Callable[[], Gpu | None]:
    """A GPU with less free memory each time that one looks; the last value stays."""
    left = list(free_mib)
    return lambda: gpu(left.pop(0) if len(left) > 1 else left[0])


class RecordedOrt:
    """onnxruntime as the CUDA build looks: its sessions run on the CPU, its "cuda" memory is the host's."""

    __version__ = onnxruntime.__version__
    SessionOptions = onnxruntime.SessionOptions
    ExecutionMode = onnxruntime.ExecutionMode
    GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel

    def __init__(self, available: tuple[str, ...] = (TENSORRT, CUDA, "CPUExecutionProvider")) -> None:
        self.available = available
        self.chosen: str | None = None  # what the session takes in place of what is asked
        self.sessions: list[list[tuple[str, dict[str, Any]]]] = []
        self.allocated: list[tuple[tuple[int, ...], str]] = []
        self.ran: list[int] = []
        self.OrtValue = self

    def get_available_providers(self) -> list[str]:
        return list(self.available)

    def InferenceSession(self, path: str, *, sess_options: Any, providers: Any) -> RecordedSession:  # noqa: N802
        self.sessions.append(providers)
        real = onnxruntime.InferenceSession(path, sess_options=sess_options, providers=["CPUExecutionProvider"])
        return RecordedSession(self, real, [self.chosen or providers[0][0], *(name for name, _ in providers[1:])])

    def ortvalue_from_shape_and_type(self, shape: Any, kind: Any, device: str, index: int) -> Any:
        assert (device, index) == ("cuda", 0)
        self.allocated.append((tuple(shape), kind.__name__))
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind, "cpu", 0)


class RecordedSession:
    def __init__(self, ort: RecordedOrt, real: Any, providers: list[str]) -> None:
        self._ort, self._real, self._providers = ort, real, providers
        self.get_inputs, self.get_outputs = real.get_inputs, real.get_outputs
        self.fallback = True

    def get_providers(self) -> list[str]:
        return self._providers

    def disable_fallback(self) -> None:
        self.fallback = False

    def io_binding(self) -> RecordedBinding:
        return RecordedBinding(self._real.io_binding())

    def run_with_iobinding(self, binding: RecordedBinding) -> None:
        assert not self.fallback
        self._ort.ran.append(binding.size)
        self._real.run_with_iobinding(binding.real)


class RecordedBinding:
    def __init__(self, real: Any) -> None:
        self.real, self.size = real, 0
        self.bind_ortvalue_output, self.get_outputs = real.bind_ortvalue_output, real.get_outputs
        self.synchronize_outputs = real.synchronize_outputs

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self.size = value.shape()[0]
        self.real.bind_ortvalue_input(name, value)

    def bind_output(self, name: str, device: str, index: int) -> None:
        assert (device, index) == ("cuda", 0)
        self.real.bind_output(name, "cpu", 0)


class _Capture(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operation, so that a graph can do them again on the same memory."""

    def __init__(self, graph: RecordedGraph) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._graph = graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._graph.operations.append((func, args, kwargs or {}, out))
        return out


class RecordedGraph:
    """A CUDA graph: replaying it reads and writes the tensors that it was captured with, and takes no others."""

    def __init__(self, cuda: RecordedCuda) -> None:
        self._cuda = cuda
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def pool(self) -> str:
        return "pool"

    def replay(self) -> None:
        self._cuda.calls.append("replay")
        for func, args, kwargs, out in self.operations:
            again = func(*args, **kwargs)
            if isinstance(out, torch.Tensor):
                out.copy_(again)


class RecordedStream:
    def __init__(self, cuda: RecordedCuda, name: str) -> None:
        self._cuda, self.name = cuda, name

    def synchronize(self) -> None:
        self._cuda.calls.append(f"synchronize {self.name}")

    def wait_stream(self, other: RecordedStream) -> None:
        self._cuda.calls.append(f"{self.name} waits for {other.name}")


class RecordedCuda:
    """torch.cuda, as far as the backend uses it."""

    OutOfMemoryError = torch.OutOfMemoryError

    def __init__(self, *, available: bool = True, free: int = 20 << 30, captures: bool = True) -> None:
        self.calls: list[str] = []
        self._available, self._free, self._captures, self._streams = available, free, captures, 0
        self.reserved = 0

    def is_available(self) -> bool:
        return self._available

    def is_bf16_supported(self) -> bool:
        return True

    def get_device_name(self, device: Any) -> str:
        return "NVIDIA A10G"

    def mem_get_info(self, device: Any) -> tuple[int, int]:
        return self._free, 24 << 30

    def memory_reserved(self, device: Any) -> int:
        return self.reserved

    def max_memory_reserved(self, device: Any) -> int:
        self.reserved += 100 << 20
        return self.reserved

    def reset_peak_memory_stats(self, device: Any) -> None:
        self.calls.append("reset_peak_memory_stats")

    def empty_cache(self) -> None:
        self.calls.append("empty_cache")

    def Stream(self, device: Any) -> RecordedStream:  # noqa: N802
        self._streams += 1
        return RecordedStream(self, f"stream-{self._streams}")

    def current_stream(self, device: Any) -> RecordedStream:
        return RecordedStream(self, "current")

    @contextlib.contextmanager
    def stream(self, stream: RecordedStream) -> Iterator[None]:
        self.calls.append(f"on {stream.name}")
        yield

    def CUDAGraph(self) -> RecordedGraph:  # noqa: N802
        return RecordedGraph(self)

    @contextlib.contextmanager
    def graph(
        self, graph: RecordedGraph, *, pool: object, stream: RecordedStream, capture_error_mode: str
    ) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        self.calls.append(f"capture on {stream.name}, pool {pool}")
        if not self._captures:
            raise RuntimeError("operation not permitted when stream is capturing")
        with _Capture(graph):
            yield
