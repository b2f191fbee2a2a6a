"""ResNet-50 with weights by chance, as an exported program and as ONNX: the network that every published table has.

Speed does not depend on the weights, so nothing is downloaded; its answers mean nothing and no accuracy is told.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from registry.records import Accuracy, Artifact, Model, Step

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, blocks, stride: He et al. 2015, table 1
EXPANSION = 4
IMAGE = (3, 224, 224)
CLASSES = 1000
BATCH_MAX = 64


class Built(NamedTuple):
    """The files, and the record that describes both."""

    program: Path
    onnx: Path
    model: Model


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, beside a shortcut."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        outside = width * EXPANSION
        self.way = nn.Sequential(
            nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, outside, 1, bias=False), nn.BatchNorm2d(outside),
        )  # fmt: skip
        same = inside == outside and stride == 1
        self.short: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(inside, outside, 1, stride=stride, bias=False), nn.BatchNorm2d(outside))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.way(x) + self.short(x))


def resnet50(stages: tuple[tuple[int, int, int], ...] = STAGES) -> nn.Sequential:
    """The network, in evaluation mode, with a fixed seed."""
    torch.manual_seed(50)
    first = stages[0][0]
    layers: list[nn.Module] = [
        nn.Conv2d(3, first, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(first), nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]  # fmt: skip
    inside = first
    for width, blocks, stride in stages:
        for n in range(blocks):
            layers.append(Bottleneck(inside, width, stride if n == 0 else 1))
            inside = width * EXPANSION
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, CLASSES)]
    return nn.Sequential(*layers).eval()


def build(folder: Path, *, stages: tuple[tuple[int, int, int], ...] = STAGES) -> Built:
    """Write both files."""
    network, program, onnx = resnet50(stages), folder / "resnet50.pt2", folder / "resnet50.onnx"
    example = (torch.zeros(2, *IMAGE),)
    shapes = ({0: torch.export.Dim("batch", min=1, max=BATCH_MAX)},)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of exporters' own innards
        exported = torch.export.export(network, example, dynamic_shapes=shapes)
        written = torch.onnx.export(
            exported, (), dynamo=True, input_names=["image"], output_names=["logits"], verbose=False
        )
        assert written is not None, "torch.onnx.export answers None only for its old, script-based exporter"
        written.save(onnx, external_data=False)
        exported.example_inputs = None  # a pickle that nobody needs
        torch.export.save(exported, program)
    return Built(program, onnx, _model({"torch": program, "onnxruntime": onnx}))


def _model(files: dict[str, Path]) -> Model:
    artifacts = {
        framework: Artifact(
            path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), format=path.suffix[1:]
        )
        for framework, path in files.items()
    }
    return Model(
        name="resnet50", task="image-classification", version="random",
        accuracy=Accuracy(value=0.0, provenance="published", source="none: weights by chance"),
        input_name="image", input_shape=IMAGE, input_dtype="float32", output_name="logits",
        preprocess=Step(name="tensor"), postprocess=Step(name="top-k", params={"k": 1}), artifacts=artifacts,
    )  # fmt: skip
