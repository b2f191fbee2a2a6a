"""The Inferentia backend against packages of our own by the names of the SDKs: never run on a NeuronCore.

In this process a fake `torch_neuronx` traces with torch itself, for one shape. The child of Inf1 is a real process,
with a fake `torch` and `torch_neuron` that know what the worker calls, and a few words that make it fail.
"""

from __future__ import annotations

import gc
import json
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from executors.backends import neuron, neuron_child
from executors.backends.compiled import ABOUT, Compiled
from executors.backends.device import Shared
from executors.backends.neuron import Neuron
from executors.backends.neuron_child import Child
from executors.backends.neuron_sdk import SDKS, casts
from executors.backends.protocol import ArtifactBroken, BackendMissing, LoadFailed
from registry.records import Artifact, Model
from streams.errors import ModelFailed
from tests.executors.models import CLASSES, FEATURES, model, variant, write_pt2

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

FAKE_TORCH = '''
"""What the worker calls of torch, over numpy."""
import json
import zipfile
import numpy
float32, __version__ = "float32", "1.13.1"
class Tensor(numpy.ndarray):
    def is_floating_point(self): return self.dtype.kind == "f"
    def element_size(self): return self.itemsize
    def numpy(self): return numpy.asarray(self)
def zeros(shape, dtype): return numpy.zeros(shape, dtype).view(Tensor)
def from_numpy(array): return array.view(Tensor)
class no_grad:
    def __enter__(self): pass
    def __exit__(self, *_): pass
class nn:
    class Module:
        def __call__(self, batch): return self.forward(batch)
class jit:
    @staticmethod
    def load(path, map_location=None):
        if map_location: said = json.loads(zipfile.ZipFile(path).read("tiny/data.pkl"))
        else: said = json.load(open(path))
        if map_location: return lambda batch: (batch * said["factor"],)
        def run(batch):
            import os, time
            if list(batch.shape) != said["shape"]: raise RuntimeError(f"traced for {said['shape']}")
            word = batch.flat[0]
            print("the SDK prints as it likes")
            if word == 13: os._exit(3)
            if word == 14: time.sleep(60)
            if word == 15: raise RuntimeError("nrt_execute failed")
            return batch * said["factor"]
        return run
    @staticmethod
    def save(traced, path):
        with open(path, "w") as file: json.dump(traced, file)
'''
FAKE_NEURON = """
import json, os
def trace(module, example_inputs, compiler_args=None):
    (example,) = example_inputs
    with open(os.environ["TRACED"], "a") as file: file.write(json.dumps([list(example.shape), compiler_args]) + "\\n")
    return {"shape": list(example.shape), "factor": float(module(example + 1).flat[0])}
"""
PLACEHOLDER = 'raise ImportError("WRONG PACKAGE. Please install from the Neuron repository")'


class Tracing(ModuleType):
    """A fake torch_neuronx: traces with torch, for exactly one shape, and writes down what it was asked."""

    def __init__(self) -> None:
        super().__init__("torch_neuronx")
        self.asked: list[tuple[list[int], list[str]]] = []

    def trace(self, func: Any, example_inputs: Any, *, compiler_args: list[str]) -> Any:
        import torch

        (example,) = example_inputs
        shape = list(example.shape)
        self.asked.append((shape, compiler_args))

        class Fixed(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.func = func

            def forward(self, batch: torch.Tensor) -> Any:
                return self.func(batch.reshape(shape))

        with warnings.catch_warnings():  # the program's guards compare sizes, which torch's tracer dislikes
            warnings.simplefilter("ignore")
            return torch.jit.trace(Fixed(), example_inputs, check_trace=False)  # type: ignore[no-untyped-call]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuron, "_runtimes", Shared())


@pytest.fixture
def inf2(monkeypatch: pytest.MonkeyPatch) -> Tracing:
    tracing = Tracing()
    monkeypatch.setitem(sys.modules, "torch_neuronx", tracing)
    return tracing


def on_inf2(tmp_path: Path, *, of: Model | None = None, **changes: Any) -> Neuron:
    path = tmp_path / "tiny.pt2"
    if not path.exists():
        write_pt2(path)
    fields = {"name": "tiny-inf2", "hardware": "inf2", "batch_max": 6, **changes}
    artifact = Artifact(path=str(path), sha256="", format="pt2")
    return Neuron(
        path, variant("torch", **fields), of or model(artifacts={"torch": artifact}),
        cache=Compiled(tmp_path / "compiled"),
    )  # fmt: skip


def places(tmp_path: Path) -> list[Path]:
    return sorted(p for p in (tmp_path / "compiled").iterdir() if p.is_dir())


@pytest.mark.parametrize("size", [1, 2, 6])
def test_inf2_traces_one_and_the_cap_and_pads(inf2: Tracing, tmp_path: Path, size: int) -> None:
    """Two shapes are compiled; any batch gives its own rows."""
    backend = on_inf2(tmp_path)
    backend.load()
    batch = np.arange(size * FEATURES, dtype="float32").reshape(size, FEATURES)

    outputs = backend.run(batch)

    np.testing.assert_array_equal(outputs, 2 * batch[:, :CLASSES])
    assert [shape for shape, _ in inf2.asked] == [[1, FEATURES], [6, FEATURES]]
    assert backend.batches == (1, 6)


def test_inf2_read_only_batch_is_accepted(inf2: Tracing, tmp_path: Path) -> None:
    """A batch of one may be a view of the record's own bytes."""
    backend = on_inf2(tmp_path)
    backend.load()

    outputs = backend.run(np.frombuffer(np.ones(FEATURES, "float32").tobytes(), "float32").reshape(1, FEATURES))

    assert outputs.tolist() == [[2, 2, 2]]


def test_inf2_what_is_traced_is_kept_by_compiler_version(
    inf2: Tracing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second load traces nothing; a newer compiler traces anew and leaves the old beside it."""
    version = "2.27"
    monkeypatch.setattr(
        "executors.backends.neuron_worker.installed", lambda name: version if name == "neuronx-cc" else "2.9"
    )
    for _ in range(2):
        on_inf2(tmp_path).load()
    assert len(inf2.asked) == len(places(tmp_path)) == 2
    about = json.loads((places(tmp_path)[0] / ABOUT).read_text())
    assert (about["neuronx-cc"], about["torch-neuronx"], about["hardware"]) == ("2.27", "2.9", "inf2")

    version = "2.28"
    neuron._runtimes = Shared()
    on_inf2(tmp_path).load()

    assert len(inf2.asked) == len(places(tmp_path)) == 4


def test_inf2_half_written_is_not_taken_for_traced(inf2: Tracing, tmp_path: Path) -> None:
    """A kill in mid-write leaves another name, which the next load does not read."""
    on_inf2(tmp_path, batch_max=1).load()
    (place,) = places(tmp_path)
    (place / "traced.pt").rename(place / "traced.pt.half-1")

    backend = on_inf2(tmp_path, batch_max=1)
    backend.load()

    assert backend.run(np.ones((1, FEATURES), "float32")).tolist() == [[2, 2, 2]]
    assert len(inf2.asked) == 2


@pytest.mark.parametrize(
    ("hardware", "precision", "arguments"),
    [
        ("inf2", "fp32", ["--auto-cast", "none"]),
        ("inf2", "bf16", ["--auto-cast", "matmult", "--auto-cast-type", "bf16"]),
        ("inf2", "int8", None),
        ("inf1", "fp32", ["--fast-math", "none"]),
        ("inf1", "bf16", ["--fast-math", "all"]),
        ("inf1", "fp16", None),
    ],
)
def test_casts_always_tell_the_compiler(hardware: str, precision: str, arguments: list[str] | None) -> None:
    """Both compilers turn fp32 into bf16 by default; ours say what they mean."""
    assert casts(SDKS[hardware], precision) == arguments


def test_inf2_precision_reaches_the_compiler_or_is_refused(inf2: Tracing, tmp_path: Path) -> None:
    """bf16 is asked of the compiler; int8 it does not have."""
    on_inf2(tmp_path, precision="bf16", batch_max=1).load()

    assert inf2.asked == [([1, FEATURES], ["--auto-cast", "matmult", "--auto-cast-type", "bf16"])]
    with pytest.raises(BackendMissing, match="tiny-inf2: neuronx-cc has no int8"):
        on_inf2(tmp_path, precision="int8").load()


def test_inf2_without_the_sdk_says_where_it_is(tmp_path: Path) -> None:
    """This very installation."""
    with pytest.raises(BackendMissing, match=r"torch-neuronx is not installed; .*setup/pytorch/manual.html names"):
        on_inf2(tmp_path).load()


def test_inf2_placeholder_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The public index's package by that name imports into an error, which is explained and not passed on."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake/torch_neuronx.py").write_text(PLACEHOLDER)
    monkeypatch.syspath_prepend(str(tmp_path / "fake"))

    with pytest.raises(BackendMissing, match=r"is the public index's placeholder, .* pip uninstall torch-neuronx"):
        on_inf2(tmp_path).load()


def test_inf2_that_does_not_compile_or_fit_its_record_fails_at_load(inf2: Tracing, tmp_path: Path) -> None:
    """An operator that the compiler lacks, a wrong shape: words, and no runtime kept."""
    with pytest.raises(LoadFailed, match="tiny-inf2: "):
        on_inf2(tmp_path, of=model(input_shape=(5,))).load()
    assert len(neuron._runtimes) == 0


def test_pickles_and_other_formats_are_refused(inf2: Tracing, tmp_path: Path) -> None:
    """The rules of the CPU hold here: nothing is unpickled. Neither SDK reads ONNX."""
    path = tmp_path / "bad.pt2"
    path.write_bytes(b"not an archive")
    with pytest.raises(ArtifactBroken, match=r"tiny-inf2: bad.pt2 is no archive of torch's"):
        Neuron(path, variant("torch", name="tiny-inf2", hardware="inf2"), model()).load()
    with pytest.raises(LoadFailed, match="onnx cannot be traced"):
        on_inf2(tmp_path, artifact=Artifact(path="x", sha256="", format="onnx")).load()
    with pytest.raises(LoadFailed, match="torch-neuron reads no exported program"):
        on_inf2(tmp_path, hardware="inf1").load()
    with pytest.raises(ArtifactBroken, match=r"tiny-inf1: .* uses 'torch.save'"):
        on_inf1(tmp_path, code="def forward(self, x):\n  torch.save(x, 'f')").load()


@pytest.fixture
def inf1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An interpreter for Inf1: this one, with fake packages before all others."""
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "torch.py").write_text(FAKE_TORCH)
    (fake / "torch_neuron.py").write_text(FAKE_NEURON)
    python = tmp_path / "python3.10"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{fake}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("HEADRACE_NEURON_PYTHON", str(python))
    monkeypatch.setenv("TRACED", str(tmp_path / "asked"))
    yield fake
    assert len(neuron._runtimes) == 0, "a test left its child running"


def on_inf1(tmp_path: Path, *, code: str = "", **changes: Any) -> Neuron:
    path = tmp_path / "tiny.pt"
    with zipfile.ZipFile(path, "w") as archive:  # as TorchScript is laid out; only the fake torch reads it
        archive.writestr("tiny/data.pkl", json.dumps({"factor": 3}))
        archive.writestr("tiny/constants.pkl", b"")
        archive.writestr("tiny/code/model.py", code)
    fields = {"name": "tiny-inf1", "hardware": "inf1", "batch_max": 4, **changes}
    return Neuron(path, variant("torch", **fields), model(), cache=Compiled(tmp_path / "compiled"))


def rows(*words: float) -> Any:
    return np.repeat(np.array(words, "float32")[:, None], FEATURES, axis=1)


def test_inf1_runs_in_a_child_of_another_interpreter(inf1: Path, tmp_path: Path) -> None:
    """Traced, loaded and run there, whatever the SDK prints; two lanes share the child, since it owns the core."""
    lanes = [on_inf1(tmp_path), on_inf1(tmp_path)]
    for lane in lanes:
        lane.load()

    assert len(neuron._runtimes) == 1
    assert lanes[0].run(rows(1, 2)).tolist() == rows(3, 6).tolist()
    assert lanes[1].run(rows(5)).tolist() == rows(15).tolist()
    asked = [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]
    assert asked == [[[1, FEATURES], ["--fast-math", "none"]], [[4, FEATURES], ["--fast-math", "none"]]]
    for lane in lanes:
        lane.close()
        lane.close()


def test_inf1_error_of_a_batch_is_that_batchs(inf1: Path, tmp_path: Path) -> None:
    """What the runtime says reaches the query, and the next batch runs."""
    lane = on_inf1(tmp_path)
    lane.load()

    with pytest.raises(ModelFailed, match="tiny-inf1: torch_neuron: RuntimeError: nrt_execute failed"):
        lane.run(rows(15))

    assert lane.run(rows(2)).tolist() == rows(6).tolist()
    lane.close()


def test_inf1_child_that_dies_or_hangs_is_started_again_a_few_times(
    inf1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch that it died with fails, the next ones run on a new one; after some deaths it is left down."""
    lane = on_inf1(tmp_path)
    lane.load()
    with pytest.raises(ModelFailed, match="tiny-inf1: torch_neuron: its process ended"):
        lane.run(rows(13))
    assert lane.run(rows(2, 3)).tolist() == rows(6, 9).tolist()
    monkeypatch.setattr(neuron_child, "RUN_S", 0.3)
    with pytest.raises(ModelFailed, match=r"no answer within 0.3 s"):
        lane.run(rows(14))
    monkeypatch.setattr(neuron_child, "RUN_S", 60.0)
    for _ in range(2):
        with pytest.raises(ModelFailed, match="its process ended"):
            lane.run(rows(13))

    with pytest.raises(ModelFailed, match="its process ended 4 times and is left down"):
        lane.run(rows(1))
    lane.close()


def test_inf1_placeholder_and_absent_package_are_told_apart(inf1: Path, tmp_path: Path) -> None:
    """Both are an ImportError in the child; the words differ, and name the interpreter."""
    (inf1 / "torch_neuron.py").write_text(PLACEHOLDER)
    with pytest.raises(BackendMissing, match=r"tiny-inf1: torch-neuron is the public index's placeholder.*python3.10"):
        on_inf1(tmp_path).load()
    (inf1 / "torch_neuron.py").unlink()

    with pytest.raises(BackendMissing, match=r"tiny-inf1: torch-neuron is not installed .*legacy-inf1/pytorch.html"):
        on_inf1(tmp_path).load()


def test_inf1_without_an_interpreter_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headrace's own Python is too new for the SDK."""
    monkeypatch.setenv("HEADRACE_NEURON_PYTHON", str(tmp_path / "none"))

    with pytest.raises(BackendMissing, match=r"there is no Python 3.10 here \(HEADRACE_NEURON_PYTHON names one\)"):
        on_inf1(tmp_path).load()


def test_child_of_something_else_is_refused(tmp_path: Path) -> None:
    """An interpreter that is none ends in words, and no process stays."""
    child = Child(SDKS["inf1"], "/bin/cat")

    with pytest.raises(ModelFailed, match="its process speaks something else"):
        child.versions()
    with pytest.raises(BackendMissing, match="cannot be run: No such file or directory"):
        Child(SDKS["inf1"], str(tmp_path / "none")).versions()


def test_inf1_lane_that_nobody_closed_ends_its_child(inf1: Path, tmp_path: Path) -> None:
    """The core is free for the next process."""
    lane = on_inf1(tmp_path)
    lane.load()
    child = next(iter(neuron._runtimes._held.values()))[0]
    assert isinstance(child, Child)

    del lane
    gc.collect()

    assert child._process is None
