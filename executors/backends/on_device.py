"""Which backend runs a variant that is not for the CPU; libraries are imported only when a variant needs them.

`compiled` means TensorRT with onnxruntime, and torch.compile with torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from executors.backends.protocol import Backend, BackendMissing
from registry.records import Model, Variant

EXTRA = {"onnxruntime": "gpu", "torch": "torch"}  # framework -> extra of the distribution


def on_device(variant: Variant) -> Callable[[Path, Variant, Model], Backend]:
    """What makes the backend of `variant`.

    Raises: BackendMissing.
    """
    if variant.hardware != "gpu":
        if variant.framework != "torch":
            raise BackendMissing(f"{variant.name}: {variant.framework} does not run on {variant.hardware}; torch does")
        from executors.backends.neuron import Neuron

        return Neuron
    try:
        if variant.framework == "onnxruntime":
            from executors.backends.onnx_gpu import OnnxGpu

            return partial(OnnxGpu, provider="tensorrt" if variant.compiled else "cuda")
        from executors.backends.torch_gpu import TorchGpu
    except ImportError as error:
        extra = EXTRA[variant.framework]
        raise BackendMissing(
            f'{variant.name}: {variant.framework} cannot be imported ({error}); pip install "headrace[{extra}]"'
        ) from error
    return TorchGpu
