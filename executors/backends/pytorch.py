"""torch on CPU: exported programs (`.pt2`), run eagerly or compiled, in fp32, bf16 or fp16.

Reduced precision: weights are cast once, at load, and items and answers at each batch, so that the model's record
holds for every precision. (Autocast would cast the weights at each batch: 172 against 146 ms for EfficientNet-Lite0
at batch 8.)

Width: torch's intra-op threads are OpenMP's, whose count belongs to the *calling* thread. But torch keeps a
process-wide default too, and a thread's first operation overwrites its own count with it. So a lane first lets
that initialisation happen (`get_num_threads`), then sets its count, and looks again before each batch, which
costs 0.1 us: lanes of different widths share a process, and a batch may run on any thread. Inter-op threads are
not used by an exported program.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# OpenMP's workers spin between batches unless told before torch loads it: 5.5x the CPU of a lane with pauses.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from executors.backends.compiling import compiled
from executors.backends.harmless import require_harmless
from executors.backends.protocol import Array, LoadFailed, checked, rehearse
from registry.records import Model, Variant
from streams.errors import ModelFailed

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

_loading = threading.Lock()  # two torch.export.load at once: AssertionError("_CURRENT_DESERIALIZER is already set")


class Torch:
    """One exported program on up to `width` threads of OpenMP, the calling thread among them."""

    def __init__(self, path: Path, variant: Variant, model: Model) -> None:
        """Raises: ArtifactBroken if loading the file could run code."""
        require_harmless(path, "pt2", variant=variant.name)  # here, so that it is known without loading
        self._path, self._variant, self._model = path, variant, model
        self._dtype = DTYPES.get(variant.precision)  # None: as the program has it
        self._module: Callable[[torch.Tensor], Any] | None = None

    @property
    def versions(self) -> dict[str, str]:
        return {"torch": str(torch.__version__), "numpy": np.__version__}

    def load(self) -> None:
        if self._variant.precision not in DTYPES:
            known = ", ".join(DTYPES)
            raise LoadFailed(f"{self._variant.name}: precision {self._variant.precision!r} is not one of {known}")
        use_threads(self._variant.width)
        try:
            with _loading:
                module = torch.export.load(self._path).module()
            if self._dtype is not None:
                module = module.to(self._dtype)
        except Exception as error:  # a bad archive raises anything from KeyError to RuntimeError
            raise LoadFailed(f"{self._variant.name}: torch cannot load {self._path.name}: {error}") from error
        self._module = compiled(module, variant=self._variant.name) if self._variant.compiled else module
        rehearse(self, self._model, self._variant)

    def run(self, batch: Array) -> Array:
        assert self._module is not None, "run before load"
        use_threads(self._variant.width)
        if not batch.flags.writeable:  # a view of a record's bytes; torch would warn that it can be written
            batch = batch.copy()
        try:
            with torch.inference_mode():
                items = torch.from_numpy(batch)
                if self._dtype is not None and items.is_floating_point():
                    items = items.to(self._dtype)
                outputs = self._module(items)
            if isinstance(outputs, dict):
                outputs = outputs[self._model.output_name]
            elif isinstance(outputs, (tuple, list)):
                outputs = outputs[0]
            result = (outputs if self._dtype is None else outputs.float()).numpy()
        except Exception as error:  # guards are AssertionError, operators RuntimeError, and more
            raise ModelFailed(f"{self._variant.name}: {type(error).__name__}: {error}") from error
        return checked(result, len(batch), self._variant.name)

    def close(self) -> None:
        self._module = None


def use_threads(width: int) -> None:
    """Let the calling thread's operations use `width` threads, without touching those of other threads."""
    if torch.get_num_threads() != width:  # the look itself initialises a new thread, see above
        torch.set_num_threads(width)
