"""One torch module -> `model.onnx` and `model.pt2`, both with a free batch axis, both from one traced program.

`model.pt2` holds no pickle: weights are raw bytes, the graph is JSON, and the example inputs are dropped.
`torch.export.load` therefore unpickles nothing from *our* file and needs none of our classes. It is still no
safe loader: an archive made by someone else may mark payloads as pickled, and torch 2.15 reads those with
`weights_only=False`. So check the manifest's sha256 before loading, and trust only manifests of your own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from examples.store import FILES

TOLERANCE = 1e-5
"""Largest difference between the two artifacts' probabilities; 2e-6 seen, from sums taken in another order."""

OUTPUT_NAME = "probabilities"


def export(network: nn.Module, folder: Path, *, input_name: str, input_shape: tuple[int, ...]) -> None:
    """Write both artifacts of a network that maps (batch, *input_shape) float32 to logits (batch, classes).

    The softmax becomes part of the artifacts, so that every model answers with probabilities.
    """
    served = nn.Sequential(network, nn.Softmax(dim=1)).eval()
    example = torch.zeros(2, *input_shape)  # two: torch.export would fix a batch of one as a constant
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(served, (example,), dynamic_shapes=({0: batch},))
    with _quiet_exporter():
        onnx = torch.onnx.export(
            program,
            (),
            input_names=[input_name],
            output_names=[OUTPUT_NAME],
            dynamo=True,
            verbose=False,
        )
    assert onnx is not None, "torch.onnx.export answers None only for its old, script-based exporter"
    for value in (*onnx.model.graph.inputs, *onnx.model.graph.outputs):
        assert value.shape is not None, f"{value.name} has no shape"
        value.shape[0] = "batch"  # the exporter takes a program's own name for the axis, such as `s31`
    onnx.save(folder / FILES["onnxruntime"], external_data=False)
    program.example_inputs = None
    torch.export.save(program, folder / FILES["torch"])


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter logs a warning for each torchvision operator it skips; these networks use none."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
