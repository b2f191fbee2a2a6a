"""Exported programs: what would run code at loading is refused before torch sees it; what is sound is loaded."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from registry import archives
from registry.archives import BadArtifact
from registry.programs import UnsafeArtifact, harmless
from tests.executors.models import FEATURES, write_pt2
from tests.registry import hostile
from tests.registry.hostile import Change, rewritten

pytestmark = pytest.mark.models


def executes(path: Path, mark: Path) -> bool:
    """Whether torch runs what is hidden there, if nobody looks first."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.export.load(path).module()(torch.zeros(2, FEATURES))
        except Exception:  # noqa: BLE001 - it fails as it likes, after the harm is done
            return mark.exists()
    return mark.exists()


@pytest.mark.parametrize("place", ["expression", "guard", "example inputs", "weight"])
def test_check_code_that_torch_would_run_is_refused(place: str, tmp_path: Path) -> None:
    """Each of these runs at `torch.export.load` or at the first call; none of them after the check."""
    path, mark = write_pt2(tmp_path / "m.pt2"), tmp_path / "exploded"
    code = f"__import__('os').mkdir({str(mark)!r})"
    changes: dict[str, Change] = {
        "expression": hostile.expression(code),
        "guard": hostile.guard(f"{code} is None"),
        "example inputs": lambda members: members.update({"data/sample_inputs/model.pt": hostile.pickled(mark)}),
        "weight": lambda members: members.update(
            {
                "data/weights/weight_0": hostile.pickled(mark),
                "data/weights/model_weights_config.json": members["data/weights/model_weights_config.json"].replace(
                    b'"use_pickle": false', b'"use_pickle": true'
                ),
            }
        ),
    }
    rewritten(path, changes[place])

    if place == "example inputs":
        assert not archives.check_program(path)
        archives.stripped(path, tmp_path / "stripped.pt2")
        assert archives.check_program(tmp_path / "stripped.pt2")
        assert not executes(tmp_path / "stripped.pt2", mark)
    else:
        with pytest.raises(UnsafeArtifact):
            archives.check_program(path)
    assert not mark.exists()
    assert executes(path, mark)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (hostile.operator("torch.os.system"), r"target 'torch\.os\.system' of its graph"),
        (hostile.operator("torch.ops.aten.from_file.default"), "from_file"),
        (hostile.operator("torch.ops.aten.save.default"), "save"),
        (hostile.operator("_operator.attrgetter"), "attrgetter"),
        (hostile.operator("torch.ops.higher_order.triton_kernel_wrapper_mutation"), "triton"),
        (hostile.operator("#ext.op"), "#ext"),
        (hostile.operator("torch.ops.aten.__class__"), "__class__"),
        (hostile.operator("torch.ops.load_library"), "load_library"),
        (hostile.graph(lambda g: g["graph_module"].update(as_operator="torch.os.system")), "as_operator"),
        (hostile.graph(lambda g: g["graph_module"]["graph"]["nodes"][0].update(name='x"); import os; ("')), "name"),
        (lambda m: m.update({"data/aotinductor/model/x.so": b"\x7fELF"}), "compiled code of AOTInductor"),
        (lambda m: m.update({"data/constants/opaque_obj_0": b""}), "an object that would be unpickled"),
        (lambda m: m.update({"data/weights/m.pt": b""}), "would be unpickled"),
        (lambda m: m.update({"data/else": b""}), "is not known to be harmless"),
        (lambda m: m.update({"Models/model.json": b"{}"}), "two members have one name"),
    ],
)
def test_check_anything_but_operators_on_tensors_is_refused(change: Change, told: str, tmp_path: Path) -> None:
    """The message names what stands where, and what to do about it."""
    path = rewritten(write_pt2(tmp_path / "m.pt2"), change)

    with pytest.raises(UnsafeArtifact, match=told):
        archives.check_program(path)


def test_check_layout_before_2_8_is_refused(tmp_path: Path) -> None:
    """torch still reads it, and unpickles the weights without restriction if that fails with it."""
    path = tmp_path / "old.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("version", "serialized_exported_program.json", "serialized_state_dict.json"):
            archive.writestr(name, b"8.1")

    with pytest.raises(UnsafeArtifact, match=r"layout before torch 2\.8"):
        archives.check_program(path)


def test_check_damaged_or_oversized_archive_is_refused(tmp_path: Path) -> None:
    """Truncated, packed so that a little is a lot, larger than allowed, or no archive at all."""
    path = write_pt2(tmp_path / "m.pt2")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadArtifact, match="damaged"):
        archives.check_program(path)
    rewritten(write_pt2(path), lambda m: m.update({"data/weights/weight_1": bytes(1 << 20)}), packed=True)
    with pytest.raises(BadArtifact, match="are compressed"):
        archives.check_program(path)
    with pytest.raises(BadArtifact, match="bytes > 1000"):
        archives.check_program(write_pt2(path), bytes_max=1_000)
    path.write_bytes(b"GIF89a")
    with pytest.raises(BadArtifact, match="no archive"):
        archives.check_program(path)
    path.write_bytes(b"#!/bin/sh\n" + data)
    with pytest.raises(UnsafeArtifact, match="before or after"):
        archives.check_program(path)
    path.unlink()
    with pytest.raises(BadArtifact, match="No such file"):
        archives.check_program(path)


def test_stripped_program_gives_the_same_answers_and_the_same_file(tmp_path: Path) -> None:
    """Without its example inputs; twice the same bytes, so that registering again changes nothing."""
    import torch

    path = write_pt2(tmp_path / "m.pt2")
    clean = archives.check_program(path)
    for name in ("a.pt2", "b.pt2"):
        archives.stripped(path, tmp_path / name)
    batch = torch.arange(12, dtype=torch.float32).reshape(3, FEATURES)

    got = torch.export.load(tmp_path / "a.pt2").module()(batch)

    assert not clean
    assert archives.check_program(tmp_path / "a.pt2")
    assert (tmp_path / "a.pt2").read_bytes() == (tmp_path / "b.pt2").read_bytes()
    np.testing.assert_array_equal(got.detach().numpy(), 2 * batch.numpy()[:, :3])


@pytest.mark.parametrize(
    "text",
    [
        "Mul(Symbol('s38', positive=True, integer=True), Max(Integer(1), Add(Symbol('s48'), Integer(-2))))",
        "(torch.sym_max(1, (-2) + L['x_1'].size()[2])*torch.sym_max(1, L['x_1'].size()[1])) != 1",
        "(4 % (((-8) + 4*L['x_1'].size()[1]))) != 0",
        "Pow(Symbol('s1'), Integer(2))",
    ],
)
def test_harmless_what_torch_writes_itself(text: str) -> None:
    """Expressions and guards of real exports."""
    assert harmless(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')", "open('x')", "L.__class__", "L['x'].forward()", "(lambda: 0)()", "[x for x in L]",
        "eval('1')", "Symbol('a\"b')", "2**2**99", "Pow(2, 10**9)", "1 << 999999", "Integer(99999999999999999999999)",
        "f'{L}'", "Symbol.mro()", "torch.load", "a;b", "", "(" * 5_000,
    ],
)  # fmt: skip
def test_harmless_refuses_what_is_more_than_arithmetic(text: str) -> None:
    """Names, attributes, loops, and numbers that take for ever."""
    assert not harmless(text)
