"""The menu: what is tried on which machine, in which order, under which names."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from registry.generate import Machine, batch_max, menu, name, refused, widths
from registry.records import Artifact, Model, RefusedVariant
from tests.executors.models import model, variant

FULL = Machine(kind="m", cores=2, flags=frozenset({"avx512_bf16", "avx512_vnni", "amx_fp16"}))
BOTH = {each: Artifact(path=each, sha256=each) for each in ("onnxruntime", "torch")}


def names(of: Model, machine: Machine) -> list[str]:
    return [each.variant.name for each in menu(of, machine)]


def test_menu_of_one_framework_says_what_is_tried_in_which_order() -> None:
    """Plain first, widths upwards, and fp16 once, with the reason why not."""
    candidates = menu(model(artifacts={"onnxruntime": BOTH["onnxruntime"]}), FULL)

    assert [each.variant.name for each in candidates] == [
        "tiny/onnxruntime", "tiny/onnxruntime-w2",
        "tiny/onnxruntime-int8-static", "tiny/onnxruntime-int8-static-w2",
        "tiny/onnxruntime-int8-dynamic", "tiny/onnxruntime-int8-dynamic-w2",
        "tiny/onnxruntime-fp16",
    ]  # fmt: skip
    assert [each.variant.name for each in candidates if each.unsupported] == ["tiny/onnxruntime-fp16"]
    assert "no fp16 kernels" in candidates[-1].unsupported


def test_menu_of_torch_compiles_last() -> None:
    """Compiling is dear and rarely pays, so that whoever stops early loses least."""
    found = names(model(artifacts={"torch": BOTH["torch"]}), FULL)

    assert found == [
        "tiny/torch", "tiny/torch-w2", "tiny/torch-bf16", "tiny/torch-bf16-w2", "tiny/torch-fp16", "tiny/torch-fp16-w2",
        "tiny/torch-compiled", "tiny/torch-compiled-w2", "tiny/torch-bf16-compiled", "tiny/torch-bf16-compiled-w2",
        "tiny/torch-fp16-compiled", "tiny/torch-fp16-compiled-w2",
    ]  # fmt: skip


def test_menu_without_native_precision_says_so_once() -> None:
    """A CPU that emulates bf16 is told of, in one width and not compiled."""
    bare = Machine(kind="m", cores=4, flags=frozenset({"avx2"}))

    unsupported = {
        each.variant.name: each.unsupported for each in menu(model(artifacts=BOTH), bare) if each.unsupported
    }

    assert sorted(unsupported) == ["tiny/onnxruntime-fp16", "tiny/torch-bf16", "tiny/torch-fp16"]
    assert "avx512_bf16" in unsupported["tiny/torch-bf16"]


def test_menu_leaves_out_what_is_not_installed_or_not_there() -> None:
    """A framework without an artifact, or without a library here, has no candidates; no stub is ever generated."""
    stubbed = model(artifacts={**BOTH, "stub": Artifact(path="stub:1:1", sha256="")})
    only_torch = Machine(kind="m", cores=1, frameworks=("torch",))

    assert {each.variant.framework for each in menu(stubbed, only_torch)} == {"torch"}
    assert menu(model(artifacts={}), FULL) == ()


def test_menu_of_a_gpu_stands_beside_that_of_the_cpu_under_other_names() -> None:
    """Hardware is in the name, and a device has one width."""
    both = Machine(kind="m", cores=2, hardware=("cpu", "gpu"))

    gpu = [each for each in menu(model(artifacts=BOTH), both) if each.variant.hardware == "gpu"]

    assert {each.variant.width for each in gpu} == {1}
    assert not any(each.unsupported for each in gpu)
    assert "tiny/onnxruntime-fp16-gpu" in [each.variant.name for each in gpu]


@given(cores=st.integers(1, 200), version=st.sampled_from(["", "1", "2", "2026-11", "abdcb9385406"]))
def test_menu_names_are_unique_and_the_first_is_the_reference(cores: int, version: str) -> None:
    """Two candidates never share a record, and the first is plain."""
    candidates = menu(model(artifacts=BOTH, version=version), Machine(kind="m", cores=cores, hardware=("cpu", "gpu")))
    first = candidates[0].variant

    assert len({each.variant.name for each in candidates}) == len(candidates)
    assert (first.precision, first.width, first.compiled, candidates[0].unsupported) == ("fp32", 1, False, "")
    assert {each.variant.version for each in candidates} == {version}


@given(cores=st.integers(1, 500))
def test_widths_are_powers_of_two_and_all_cores(cores: int) -> None:
    """1, 2, 4 and so on, and the whole machine even if it is none of them."""
    found = widths("cpu", Machine(kind="m", cores=cores))

    assert found[0] == 1
    assert found[-1] == cores
    assert list(found) == sorted(set(found))
    assert all(math.log2(each).is_integer() for each in found[:-1])


def test_name_leaves_out_the_usual() -> None:
    """Names from before generation stay; digests of a build are no versions that people ask for."""
    assert name(model(version="abdcb9385406"), "torch") == "tiny/torch"
    assert name(model(version="1"), "torch") == "tiny/torch"
    assert name(model(version="2"), "torch", precision="bf16", compiled=True, hardware="gpu", width=4) == (
        "tiny@2/torch-bf16-compiled-gpu-w4"
    )


def test_batch_max_is_small_for_large_items() -> None:
    """The rule that manifests have had."""
    assert batch_max(model()) == 64
    assert batch_max(model(input_shape=(3, 224, 224))) == 8


def test_reduce_range_only_without_dot_products() -> None:
    """Products of 8-bit numbers saturate in 16 bits on CPUs without VNNI."""
    assert not FULL.reduce_range
    assert Machine(kind="m", cores=1, flags=frozenset({"avx2"})).reduce_range


def test_refused_keeps_the_reason_short() -> None:
    """Errors of frameworks can hold whole graphs; the registry topic should not."""
    record = refused(variant("torch"), FULL, stage="load", reason="x" * 5_000, at="2026-11-25T00:00:00+00:00")

    assert record == RefusedVariant(
        variant="tiny-torch", model="tiny", stage="load", reason="x" * 1_000, machine="m",
        refused_at="2026-11-25T00:00:00+00:00",
    )  # fmt: skip
