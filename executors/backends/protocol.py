"""What an executor asks of anything that can run a batch, and how it can fail.

One instance is one lane: loaded, run and closed by one thread at a time.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from registry.records import Model, Variant
from streams.errors import ModelFailed, ServerFault

Array = np.ndarray[Any, Any]


class Backend(Protocol):
    """One loaded instance of a variant."""

    @property
    def versions(self) -> dict[str, str]:
        """The libraries whose change may change what was measured, and their versions."""
        ...

    def load(self) -> None:
        """Load the artifact and run it once, so that what cannot run fails here and not on the first query.

        Raises: LoadFailed.
        """
        ...

    def run(self, batch: Array) -> Array:
        """Run one batch; blocks its thread without the interpreter's lock.

        Shapes:  `batch` is (n, *item), n >= 1, of the model's dtype; the result is (n, *output).
        Raises:  ModelFailed, after which the next batch may be tried.
        """
        ...

    def close(self) -> None:
        """Give the memory back; may be called twice, or before `load`."""
        ...


class BackendMissing(ServerFault):
    """This installation or machine cannot run the variant at all."""

    code = "backend_missing"
    retryable = False


class ArtifactBroken(ServerFault):
    """The model's file is absent, or not the one that was registered."""

    code = "artifact_broken"
    retryable = False


class LoadFailed(ServerFault):
    """The file is the right one, but the backend cannot make a runnable model of it."""

    code = "load_failed"
    retryable = False


def rehearse(backend: Backend, model: Model, variant: Variant) -> None:
    """Run a batch of one, and of two where the variant batches: a fixed batch axis or a wrong shape shows here.

    Raises: LoadFailed.
    """
    for size in (1, 2)[: variant.batch_max]:
        try:
            backend.run(np.zeros((size, *model.input_shape), dtype=model.input_dtype))
        except ModelFailed as error:
            shape = [size, *model.input_shape]
            raise LoadFailed(
                f"{variant.name}: a first batch of {shape} {model.input_dtype}: {error.message}"
            ) from error


def checked(outputs: object, size: int, variant: str) -> Array:
    """`outputs` if it is one array row per item.

    Raises: ModelFailed.
    """
    if not isinstance(outputs, np.ndarray) or outputs.ndim < 1 or outputs.shape[0] != size:
        got = list(outputs.shape) if isinstance(outputs, np.ndarray) else type(outputs).__name__
        raise ModelFailed(f"{variant}: {got} is not one output row for each of {size} items")
    return outputs
