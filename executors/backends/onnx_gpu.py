"""onnxruntime on an NVIDIA GPU: the CUDA provider, or TensorRT with CUDA beneath it.

CUDA: all lanes of a variant run one session, each in its own thread; onnxruntime gives every concurrent call a stream
(microsoft/onnxruntime#13495), so the weights are on the device once. TensorRT: a session holds a lock while it computes
(#19301), so each lane has a session of its own, and they share the engine on disk.

Inputs and outputs are bound to device memory that is allocated once a lane and batch size. Never run on a GPU by us.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnxruntime as ort

from executors.backends.compiled import Compiled
from executors.backends.device import RESERVE_BYTES, Shared, require_fit, require_items
from executors.backends.padding import doubling, pad, size_for
from executors.backends.protocol import Array, BackendMissing, LoadFailed, checked, rehearse
from executors.devices import CUDA, TENSORRT, Gpu
from executors.probing import own_gpu
from registry.records import Model, Variant
from streams.errors import ModelFailed

Provider = Literal["cuda", "tensorrt"]
Providers = list[tuple[str, dict[str, Any]]]

TENSORRT_PACKAGES = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")

_sessions: Shared[Any] = Shared()


class Slot(NamedTuple):
    """One batch size of one lane: what is bound, and where to write and read."""

    binding: Any
    inputs: Any
    outputs: Any


class OnnxGpu:
    """One lane: bindings of its own, and a session that is shared (CUDA) or its own (TensorRT)."""

    def __init__(
        self, path: Path, variant: Variant, model: Model, *, provider: Provider, cache: Compiled | None = None,
        gpu: Callable[[], Gpu | None] = own_gpu,
    ) -> None:  # fmt: skip
        self._path, self._variant, self._model, self._provider = path, variant, model, provider
        self._cache, self._gpu = cache or Compiled(), gpu
        self._session: Any = None
        self._release: Callable[[], object] | None = None
        self._slots: dict[int, Slot] = {}
        self._device = "cuda"
        self.batches = doubling(variant.batch_max)
        self.device_bytes = 0

    @property
    def versions(self) -> dict[str, str]:
        own = {"onnxruntime": ort.__version__, "numpy": np.__version__, "provider": self._provider}
        return {**own, "tensorrt": tensorrt_version() or "unknown"} if self._provider == "tensorrt" else own

    def load(self) -> None:
        """Raises: BackendMissing, LoadFailed, NoDevice."""
        wanted = {"cuda": CUDA, "tensorrt": TENSORRT}[self._provider]
        require_provider(wanted, self._variant.name)
        before = self._gpu()
        if before is not None:
            require_fit(self._variant.name, needs_bytes=self._path.stat().st_size, free_bytes=before.free_bytes)
        try:
            made = self._open(wanted, before)
            for size in reversed(self.batches):  # the largest first: the arena then holds what the others need
                self._slots[size] = self._slot(size)
            rehearse(self, self._model, self._variant)
        except BaseException:
            self.close()
            raise
        after = self._gpu()
        if made and before is not None and after is not None:
            self.device_bytes = max(0, before.free_bytes - after.free_bytes)

    def run(self, batch: Array) -> Array:
        assert self._session is not None, "run before load"
        require_items(batch, self._model, variant=self._variant.name)
        size = size_for(len(batch), self.batches)
        slot = self._slots[size]
        try:
            slot.inputs.update_inplace(pad(batch, size))
            self._session.run_with_iobinding(slot.binding)
            slot.binding.synchronize_outputs()
            outputs = slot.outputs.numpy()  # a view where the memory is the host's
        except Exception as error:  # onnxruntime's errors share no other base
            raise ModelFailed(f"{self._variant.name}: {error}") from error
        return checked(outputs, size, self._variant.name)[: len(batch)].copy()

    def close(self) -> None:
        self._slots.clear()
        self._session = None
        if self._release is not None:
            self._release()
            self._release = None

    def _open(self, wanted: str, gpu: Gpu | None) -> bool:
        """Take or make the session; whether it was made."""
        if self._provider == "tensorrt":
            with self._cache.place(self._engine(gpu)) as place:  # held while the engine is built, by this lane alone
                self._session = self._make(tensorrt(self._variant, self._model, cache=place), wanted)
                self._first_runs()
            return True
        key = (self._path, self._path.stat().st_mtime_ns, self._variant.name)
        limit = None if gpu is None else gpu.free_bytes - RESERVE_BYTES
        self._session, made = _sessions.take(key, lambda: self._make(cuda(limit_bytes=limit), wanted))
        self._release = weakref.finalize(self, _sessions.give_back, key)  # also of a lane that nobody closed
        return made

    def _make(self, providers: Providers, wanted: str) -> Any:
        name = self._variant.name
        try:
            session = ort.InferenceSession(str(self._path), sess_options=options(), providers=providers)
            session.disable_fallback()  # else an error makes it go on with the CPU, without a word
        except Exception as error:  # onnxruntime's errors share no other base
            raise LoadFailed(f"{name}: onnxruntime cannot load {self._path.name}: {error}") from error
        if (got := session.get_providers()[0]) != wanted:
            raise BackendMissing(
                f"{name}: onnxruntime chose {got} in place of {wanted}: a library of CUDA, cuDNN or TensorRT is "
                "missing or of another version; its log on stderr names which"
            )
        inputs, outputs = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
        if inputs != [self._model.input_name] or self._model.output_name not in outputs:
            raise LoadFailed(
                f"{name}: inputs {inputs} and outputs {outputs} are not {self._model.input_name!r} and "
                f"{self._model.output_name!r}"
            )
        return session

    def _first_runs(self) -> None:
        """Build the engine, which the first call does and not the session; the profile spans all sizes."""
        self._slot(self.batches[-1])

    def _slot(self, size: int) -> Slot:
        """Allocate a size: the input by its shape, the output by what a first run gives, which stays bound."""
        shape, name = (size, *self._model.input_shape), self._variant.name
        try:
            inputs = ort.OrtValue.ortvalue_from_shape_and_type(
                shape, np.dtype(self._model.input_dtype).type, self._device, 0
            )
            inputs.update_inplace(np.zeros(shape, self._model.input_dtype))
            binding = self._session.io_binding()
            binding.bind_ortvalue_input(self._model.input_name, inputs)
            binding.bind_output(self._model.output_name, self._device, 0)
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            (outputs,) = binding.get_outputs()
            binding.bind_ortvalue_output(self._model.output_name, outputs)
        except Exception as error:  # onnxruntime's errors share no other base
            raise LoadFailed(f"{name}: a first batch of {list(shape)} {self._model.input_dtype}: {error}") from error
        return Slot(binding, inputs, outputs)

    def _engine(self, gpu: Gpu | None) -> dict[str, str]:
        """All that an engine depends on."""
        version = tensorrt_version()
        if version is None or gpu is None:
            missing = "TensorRT's version" if version is None else "the kind of a MIG share"
            raise BackendMissing(f"{self._variant.name}: {missing} is unknown, so that engines cannot be kept apart")
        with self._path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {
            "artifact": digest, "precision": self._variant.precision, "batch": str(self._variant.batch_max),
            "onnxruntime": ort.__version__, "tensorrt": version, "gpu": gpu.name, "capability": gpu.capability,
            "driver": gpu.driver,
        }  # fmt: skip


def require_provider(wanted: str, variant: str) -> None:
    """Raises: BackendMissing where this onnxruntime was built without it."""
    available = ort.get_available_providers()
    if wanted not in available:
        raise BackendMissing(
            f"{variant}: this onnxruntime has {', '.join(available)} and not {wanted}; "
            'pip uninstall onnxruntime; pip install "headrace[gpu]"'
        )


def options() -> ort.SessionOptions:
    """The host's part is small: one thread, and no copies of plans for shapes that never come."""
    made = ort.SessionOptions()
    made.intra_op_num_threads = made.inter_op_num_threads = 1
    made.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    made.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    made.log_severity_level = 3  # errors, among them the library that is missing
    return made


def cuda(*, limit_bytes: int | None) -> Providers:
    """The CUDA provider on this process's device; the arena takes what is asked, so that memory can be accounted."""
    own: dict[str, Any] = {
        "device_id": 0,
        "arena_extend_strategy": "kSameAsRequested",  # its default doubles, up to twice what the profile says
        "cudnn_conv_algo_search": "EXHAUSTIVE",  # a search for each size, at load, where it costs no query
        "do_copy_in_default_stream": True,  # off is a race (microsoft/onnxruntime#4829)
    }
    if limit_bytes is not None:
        own["gpu_mem_limit"] = limit_bytes
    return [(CUDA, own), ("CPUExecutionProvider", {})]


def tensorrt(variant: Variant, model: Model, *, cache: Path) -> Providers:
    """TensorRT with one profile over all batches, its engine and timings kept in `cache`, CUDA for what it cannot."""

    def shape(size: int) -> str:
        return f"{model.input_name}:{'x'.join(map(str, (size, *model.input_shape)))}"

    own: dict[str, Any] = {
        "device_id": 0,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(cache),
        "trt_profile_min_shapes": shape(1),
        "trt_profile_opt_shapes": shape(variant.batch_max),
        "trt_profile_max_shapes": shape(variant.batch_max),
    }
    if variant.precision != "fp32":  # int8: of a file with Q/DQ nodes. Older releases refuse flags that they lack
        own[f"trt_{variant.precision}_enable"] = True
    return [(TENSORRT, own), *cuda(limit_bytes=None)]


def tensorrt_version() -> str | None:
    """Of the installed package; None where TensorRT came another way."""
    for name in TENSORRT_PACKAGES:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None
