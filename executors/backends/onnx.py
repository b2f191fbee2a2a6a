"""onnxruntime on CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from executors.backends.protocol import Array, LoadFailed, checked, rehearse
from registry.records import Model, Variant
from streams.errors import ModelFailed


class Onnx:
    """One session with its own `width` threads, the calling thread among them."""

    def __init__(self, path: Path, variant: Variant, model: Model) -> None:
        self._path, self._variant, self._model = path, variant, model
        self._session: ort.InferenceSession | None = None

    @property
    def versions(self) -> dict[str, str]:
        return {"onnxruntime": ort.__version__, "numpy": np.__version__}

    def load(self) -> None:
        try:
            self._session = ort.InferenceSession(
                str(self._path), sess_options=_options(self._variant.width), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no other base
            raise LoadFailed(f"{self._variant.name}: onnxruntime cannot load {self._path.name}: {error}") from error
        self._check_names(self._session)
        rehearse(self, self._model, self._variant)

    def run(self, batch: Array) -> Array:
        assert self._session is not None, "run before load"
        try:
            (outputs,) = self._session.run([self._model.output_name], {self._model.input_name: batch})
        except Exception as error:  # onnxruntime's errors share no other base
            raise ModelFailed(f"{self._variant.name}: {error}") from error
        return checked(outputs, len(batch), self._variant.name)

    def close(self) -> None:
        self._session = None

    def _check_names(self, session: ort.InferenceSession) -> None:
        inputs, outputs = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
        if inputs != [self._model.input_name]:
            raise LoadFailed(f"{self._variant.name}: inputs {inputs} are not [{self._model.input_name!r}]")
        if self._model.output_name not in outputs:
            raise LoadFailed(f"{self._variant.name}: no output {self._model.output_name!r} among {outputs}")


def _options(width: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = width  # its default is every core of the host, whatever the cgroup allows
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Threads that spin after a batch take the cores of the neighbouring lanes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = True  # keeps the largest batch's memory, which is what the profile measures
    options.enable_mem_pattern = False  # one plan is kept per input shape, and batches come in every size
    options.log_severity_level = 3  # errors; they are raised as well
    return options
