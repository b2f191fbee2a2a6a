"""One artifact looked at: what it takes and answers; and hostile, damaged or unsuitable ones, refused with a reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry import inspecting, inspection
from registry.archives import BadArtifact
from registry.confined import Limits
from registry.dataset import BadDataset
from registry.inspection import ANSWERS, PROGRAM, Findings, Request
from registry.programs import UnsafeArtifact
from tests.executors.models import CLASSES, FEATURES, WEIGHT, write_onnx, write_pt2
from tests.registry import hostile

pytestmark = pytest.mark.models

X = np.arange(40, dtype="float32").reshape(10, FEATURES)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look in this process: quicker; what the child adds has tests of its own."""
    monkeypatch.setattr(inspecting, "enter", lambda limits: None)


def request(kind: Any, path: Path, folder: Path, **changes: Any) -> Request:
    folder.mkdir(exist_ok=True)
    if path.exists():
        shutil.copy(path, folder / path.name)
    np.savez(folder / "set.npz", x=X, y=np.arange(10) % CLASSES)
    fields: dict[str, Any] = {"dataset": "set.npz", "limits": Limits(), "bytes_max": 1 << 30}
    return Request(kind=kind, file=path.name, name=path.name, **{**fields, **changes})


def look(kind: Any, path: Path, **changes: Any) -> Findings:
    folder = path.parent / "work"
    return inspecting.look(request(kind, path, folder, **changes), folder)


def onnx_of(path: Path, change: Callable[[Any], None]) -> Path:
    import onnx

    model = onnx.load(write_onnx(path))
    change(model)
    onnx.save(model, path)
    return path


class Tiny:
    """A factory of the operator's; torch is imported when it is called."""

    def __new__(cls) -> Any:
        import torch

        return torch.nn.Linear(FEATURES, CLASSES, bias=False)


def weights(path: Path, **changes: Any) -> Path:
    import torch

    torch.save({"weight": torch.from_numpy(WEIGHT.T.copy()), **changes}, path)
    return path


def script(path: Path) -> Path:
    import warnings

    import torch

    layer = Tiny()
    layer.load_state_dict({"weight": torch.from_numpy(WEIGHT.T.copy())})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(layer.eval()), str(path))
    return path


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_inspect_in_the_child_finds_what_the_file_takes_and_answers(kind: Any, tmp_path: Path) -> None:
    """The whole way, through a process under limits; a program with example inputs is kept without them."""
    path = write_onnx(tmp_path / "m.onnx") if kind == "onnx" else write_pt2(tmp_path / "m.pt2")

    findings, answers = inspection.inspect(request(kind, path, tmp_path / "work"), tmp_path / "work")

    assert (findings.input_shape, findings.input_dtype) == ((FEATURES,), "float32")
    assert (findings.input_name, findings.output_name) == (("x", "y") if kind == "onnx" else ("input", "output"))
    assert findings.program == (tmp_path / "work" / PROGRAM).is_file() == (kind == "pt2")
    np.testing.assert_allclose(answers, 2 * X[:, :CLASSES])


@pytest.mark.parametrize("claimed", [2**30, 2**40])
def test_inspect_in_the_child_memory_that_is_claimed_is_refused(claimed: int, tmp_path: Path) -> None:
    """A file of a few bytes whose run asks for 4 GB or more fails in its child."""
    from onnx import helper, numpy_helper

    def change(model: Any) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array([claimed], "int64"), "size"))
        model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["size"], ["big"]))
        model.graph.node.insert(1, helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0))
        model.graph.node[-1].output[0] = "mul"
        model.graph.node.append(helper.make_node("Add", ["mul", "sum"], ["y"]))

    path = onnx_of(tmp_path / "m.onnx", change)

    with pytest.raises(BadArtifact, match=r"m\.onnx"):
        inspection.inspect(request("onnx", path, tmp_path / "w", limits=Limits(memory_bytes=1 << 30)), tmp_path / "w")


@pytest.mark.parametrize("kind", ["torchscript", "factory"])
def test_look_other_forms_of_torch_become_an_exported_program(kind: Any, tmp_path: Path, here: None) -> None:
    """What executors load, with the same answers; the factory runs here and nowhere else."""
    path = script(tmp_path / "m.ts") if kind == "torchscript" else weights(tmp_path / "w.pt")

    findings = look(kind, path, factory="tests.registry.test_inspection:Tiny")

    assert findings.program
    answers = np.fromfile(tmp_path / "work" / ANSWERS, dtype="float32").reshape(findings.answers_shape)
    np.testing.assert_allclose(answers, 2 * X[:, :CLASSES])
    again = look("pt2", Path(shutil.copy(tmp_path / "work" / PROGRAM, tmp_path / "again.pt2")))
    assert (again.input_shape, again.program) == ((FEATURES,), False)


def nan(model: Any) -> None:
    from onnx import numpy_helper

    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.where(WEIGHT == 0, np.nan, WEIGHT), "w"))


def lying(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 1 << 30


def outside(model: Any) -> None:
    from onnx import TensorProto

    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def foreign(model: Any) -> None:
    model.graph.node[0].domain = "evil.ops"
    model.opset_import.add(domain="evil.ops", version=1)


def dividing(model: Any) -> None:
    from onnx import helper

    model.graph.node[0].output[0] = "z"
    model.graph.node.append(helper.make_node("Div", ["z", "z"], ["y"]))


def mixing(model: Any) -> None:
    from onnx import helper

    model.graph.node[0].output[0] = "z"
    model.graph.node.append(helper.make_node("ReduceMax", ["z"], ["top"], axes=[0], keepdims=1))
    model.graph.node.append(helper.make_node("Sub", ["z", "top"], ["y"]))


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (nan, BadArtifact, "9 weights of 'w' are NaN"),
        (lying, BadArtifact, "'w' claims 12884901888 bytes, and has 48"),
        (outside, UnsafeArtifact, "stands in another file .*passwd"),
        (foreign, BadArtifact, "needs operators of .'evil.ops'."),
        (dividing, BadArtifact, "answers NaN or infinity to item 0"),
        (mixing, BadArtifact, "otherwise in a batch of 1"),
        (lambda m: m.graph.ClearField("node"), BadArtifact, "no nodes"),
    ],
)
def test_look_onnx_that_cannot_be_served_is_refused(
    change: Callable[[Any], None], error: type[Exception], told: str, tmp_path: Path, here: None
) -> None:
    """With what is wrong in it, by name."""
    with pytest.raises(error, match=told):
        look("onnx", onnx_of(tmp_path / "m.onnx", change))


@pytest.mark.parametrize("kind", ["onnx", "pt2", "torchscript", "factory"])
@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_look_damaged_file_is_refused(kind: Any, damage: str, tmp_path: Path, here: None) -> None:
    """Whatever is left of it."""
    makers = {"onnx": write_onnx, "pt2": write_pt2, "torchscript": script, "factory": weights}
    path = makers[kind](tmp_path / "m.pt2")
    data = path.read_bytes()
    path.write_bytes(
        {"truncated": data[: len(data) * 2 // 3], "garbage": b"\x80\x02cos\nsystem\n." * 9, "empty": b""}[damage]
    )

    with pytest.raises(BadArtifact):
        look(kind, path, factory="tests.registry.test_inspection:Tiny")


def test_look_weights_that_are_nan_are_refused_in_torch_too(tmp_path: Path, here: None) -> None:
    """In a state dict, and in a program that was exported so."""
    import torch

    spoiled = torch.full((CLASSES, FEATURES), float("nan"))
    with pytest.raises(BadArtifact, match=r"w\.pt: 12 weights of 'weight' are NaN"):
        look("factory", weights(tmp_path / "w.pt", weight=spoiled), factory="tests.registry.test_inspection:Tiny")
    layer = Tiny()
    layer.load_state_dict({"weight": spoiled})
    batch = ({0: torch.export.Dim("n", min=1)},)
    program = torch.export.export(layer.eval(), (torch.zeros(2, FEATURES),), dynamic_shapes=batch)
    torch.export.save(program, tmp_path / "m.pt2")
    with pytest.raises(BadArtifact, match=r"m\.pt2: 12 weights of 'weight' are NaN"):
        look("pt2", tmp_path / "m.pt2")


def test_look_state_dict_that_is_a_pickle_bomb_is_refused(tmp_path: Path, here: None) -> None:
    """torch's restricted loader knows tensors only."""
    path, mark = tmp_path / "w.pt", tmp_path / "exploded"
    path.write_bytes(hostile.pickled(mark))

    with pytest.raises(BadArtifact, match="no state dict of plain tensors"):
        look("factory", path, factory="tests.registry.test_inspection:Tiny")

    assert not mark.exists()


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("tests.registry.no_such:Tiny", "No module named"),
        ("tests.registry.test_inspection:nan", "TypeError"),
        ("builtins:dict", "made a dict, not a torch.nn.Module"),
        ("torch.nn:Identity", "does not fit torch.nn:Identity"),
    ],
)
def test_look_factory_that_makes_something_else_is_refused(factory: str, told: str, tmp_path: Path, here: None) -> None:
    """The message names the factory as the operator wrote it."""
    with pytest.raises(BadArtifact, match=told):
        look("factory", weights(tmp_path / "w.pt"), factory=factory)


def test_look_script_with_code_that_reaches_the_disk_is_refused(tmp_path: Path, here: None) -> None:
    """Before torch compiles it: `__setstate__` would run while it is loaded."""
    import torch

    path = script(tmp_path / "m.ts")

    def change(members: dict[str, bytes]) -> None:
        name = next(n for n in members if n.startswith("code/") and n.endswith(".py"))
        members[name] += b"\n  def __setstate__(self, state: int) -> NoneType:\n    pass\n"

    hostile.rewritten(path, change)

    with pytest.raises(UnsafeArtifact, match="uses '__setstate__'"):
        look("torchscript", path)
    assert torch.__version__


def test_look_wrong_shape_or_type_says_which(tmp_path: Path, here: None) -> None:
    """Against what the operator says, and against the validation set."""
    path = write_onnx(tmp_path / "m.onnx")

    with pytest.raises(BadArtifact, match=r"takes items of \[4\], not \[5\]"):
        look("onnx", path, input_shape=(5,))
    with pytest.raises(BadArtifact, match=r"takes float32, not input\.dtype = 'uint8'"):
        look("onnx", path, input_dtype="uint8")
    with pytest.raises(BadArtifact, match=r"inputs \['x'\]; 'image' is wanted"):
        look("onnx", path, input_name="image")
    with pytest.raises(BadArtifact, match=r"outputs \['y'\]; name one of them"):
        look("onnx", path, output_name="z")
    with pytest.raises(BadArtifact, match="first axis must be the batch"):
        look("onnx", write_onnx(tmp_path / "fixed.onnx", batch=1))
    with pytest.raises(BadArtifact, match="takes batches of 2 only"):
        look("pt2", write_pt2(tmp_path / "fixed.pt2", fixed=True))
    np.savez(tmp_path / "work" / "other.npz", x=X.reshape(10, 2, 2), y=np.arange(10) % 3)
    with pytest.raises(BadDataset, match=r"items of \[2, 2\]; m.onnx takes \[4\]"):
        look("onnx", path, dataset="other.npz")
