"""Generation: what holds is published, what is broken is refused where it broke, once.

With real children where they matter: the whole of a menu, and what compiles. What else a child does is in
`test_variants_bounds.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headrace.variants.evidence import Evidence, from_samples
from headrace.variants.generating import generate_variants
from headrace.variants.judging import Rules
from registry.generate import Machine
from tests.executors.models import FEATURES, WEIGHT, write_onnx, write_pt2
from tests.headrace.variants import ONNX, generate, items, of_files, reasons, write_network

pytestmark = pytest.mark.models


def test_generate_a_sound_model_publishes_measured_variants(tmp_path: Path, out: Path) -> None:
    """Each with its own accuracy, converted ones with their own file; a second run tries nothing."""
    of = of_files(onnxruntime=write_onnx(tmp_path / "tiny.onnx"))

    made, again = generate(of, out), generate(of, out)

    assert [each.name for each in made.variants] == [
        "tiny/onnxruntime", "tiny/onnxruntime-int8-static", "tiny/onnxruntime-int8-dynamic",
    ]  # fmt: skip
    accuracies = [each.accuracy for each in made.variants]
    assert all(each and (each.provenance, each.n, each.dataset) == ("measured", 40, "d") for each in accuracies)
    assert made.accuracy is not None
    assert made.accuracy.value == 1.0
    assert made.variants[0].artifact is None
    own = [each.artifact for each in made.variants[1:] if each.artifact is not None]
    assert [Path(each.path).stat().st_size for each in own] == [each.bytes for each in own]
    assert len({each.sha256 for each in own}) == 2
    assert [*reasons(made)] == ["tiny/onnxruntime-fp16"]
    assert (made.ran, again.ran) == (3, 0)
    assert again.variants == made.variants
    assert [path.name for path in out.iterdir() if path.name.startswith(("try-", "items-"))] == []


@pytest.mark.usefixtures("here")
def test_generate_with_nothing_to_quantise_is_refused_at_convert(tmp_path: Path, out: Path) -> None:
    """A model of no weights has no int8 copy, and is published as it is."""
    from onnx import helper

    path = write_network(tmp_path / "relu.onnx", [helper.make_node("Relu", ["x"], ["y"])], {}, classes=FEATURES)

    made = generate(of_files(onnxruntime=path), out)

    assert [each.name for each in made.variants] == ["tiny/onnxruntime"]
    assert {stage for name, (stage, _) in reasons(made).items() if "int8" in name} == {"convert"}


@pytest.mark.usefixtures("here")
def test_generate_a_file_that_does_not_load_is_refused_at_load(tmp_path: Path, out: Path) -> None:
    """One framework's file is garbage: its variants go, in each precision, and the other's stay."""
    garbage = tmp_path / "tiny.pt2"
    garbage.write_bytes(b"not a program")
    of = of_files(onnxruntime=write_onnx(tmp_path / "tiny.onnx"), torch=garbage)

    made = generate(of, out, machine=Machine(kind="test", cores=2))

    refused = reasons(made)
    assert refused["tiny/torch"][0] == "load"
    assert "tiny.pt2" in refused["tiny/torch"][1]
    assert refused["tiny/torch-w2"] == ("load", f"not tried, as with fewer cores: {refused['tiny/torch'][1]}")
    assert "tiny/onnxruntime-w2" in {each.name for each in made.variants}


@pytest.mark.usefixtures("here")
def test_generate_with_nothing_that_runs_publishes_nothing(tmp_path: Path, out: Path) -> None:
    """Without a reference there is nothing to compare with."""
    garbage = tmp_path / "tiny.onnx"
    garbage.write_bytes(b"not a model")

    made = generate(of_files(onnxruntime=garbage), out)

    assert made.variants == ()
    assert made.accuracy is None
    assert reasons(made)["tiny/onnxruntime-int8-static"] == (
        "load", "nothing to compare its answers with: no fp32 variant runs",
    )  # fmt: skip


@pytest.mark.usefixtures("here")
def test_generate_other_weights_in_one_file_are_refused_at_answers(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files that were registered as one model and are not."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    other = write_network_pt2(tmp_path / "other.pt2", scale=2.001)
    of = of_files(onnxruntime=write_onnx(tmp_path / "tiny.onnx"), torch=other)

    ways = ("torch", "torch-compiled")
    made = generate(of, out, machine=Machine(kind="test", cores=1), ways=ways)

    refused = reasons(made)
    assert refused["tiny/torch"][0] == "answers"
    assert refused["tiny/torch"][1].startswith("an output differs from the reference's by 0.00")
    assert refused["tiny/torch-compiled"][0] == "load"
    assert "no-such-compiler" in refused["tiny/torch-compiled"][1]


@pytest.mark.slow
def test_generate_compiling_that_does_not_pay_is_refused_at_profile(tmp_path: Path, out: Path) -> None:
    """A dozen multiplications take no time that could be saved: with what is asked here, none could."""
    of = of_files(onnxruntime=write_onnx(tmp_path / "tiny.onnx"), torch=write_pt2(tmp_path / "tiny.pt2"))
    machine = Machine(kind="test", cores=1)

    made = generate(
        of, out, machine=machine, rules=Rules(compile_saves_min=0.999), ways=("onnxruntime", "torch-compiled")
    )

    assert [each.name for each in made.variants] == ["tiny/onnxruntime"]
    assert reasons(made)["tiny/torch-compiled"][0] == "profile"


@pytest.mark.usefixtures("here")
def test_generate_a_copy_that_loses_accuracy_is_refused_at_accuracy(tmp_path: Path, out: Path) -> None:
    """One feature is a thousand times larger than those that decide: 8 bits for all of them leave nothing."""
    x = np.random.default_rng(0).uniform(-1, 1, (60, FEATURES)).astype("float32")
    y = (x @ WEIGHT).argmax(axis=1)
    x[:, 3] *= 1_000  # has no weight in the answer
    swamped = Evidence(x=x[20:], y=y[20:], calibration=x[:20], told="40 items", dataset="d")

    made = generate(of_files(onnxruntime=write_onnx(tmp_path / "tiny.onnx")), out, items=swamped)

    assert [each.name for each in made.variants] == ["tiny/onnxruntime"]
    stage, reason = reasons(made)["tiny/onnxruntime-int8-static"]
    assert stage == "accuracy"
    assert reason.endswith("> 0.01 of accuracy on 40 items")
    assert made.drops["tiny/onnxruntime-int8-static"] > 0.2


@pytest.mark.usefixtures("here")
def test_generate_without_labels_compares_with_fp32(tmp_path: Path, out: Path) -> None:
    """The record says what was compared, and is not called measured."""
    labelled = items()
    samples = from_samples(labelled.x, calibration=labelled.calibration, told="some items")

    made = generate(of_files(onnxruntime=write_onnx(tmp_path / "tiny.onnx")), out, items=samples)

    plain, static, _ = made.variants
    assert made.accuracy is None
    assert plain.accuracy is None  # the model's own holds
    assert static.accuracy is not None
    assert static.accuracy.provenance == "published"
    assert static.accuracy.source.startswith("not measured: 0.9 of fp32")
    assert static.accuracy.source.endswith("some items")


@pytest.mark.usefixtures("here")
def test_generate_on_noise_refuses_reduced_precision(tmp_path: Path, out: Path) -> None:
    """Without any real input only equal precision can be vouched for."""
    of = of_files(onnxruntime=write_onnx(tmp_path / "tiny.onnx"))

    made = generate_variants(of, out=out, machine=ONNX)

    assert [each.name for each in made.variants] == ["tiny/onnxruntime"]
    assert reasons(made)["tiny/onnxruntime-int8-dynamic"][0] == "accuracy"
    assert reasons(made)["tiny/onnxruntime-int8-static"][0] == "convert"


@pytest.mark.usefixtures("here")
def test_generate_looks_up_only_what_depends_on_nothing_new(tmp_path: Path, out: Path) -> None:
    """Another file, other items or another machine is another result; a lost converted file is made again."""
    of = of_files(onnxruntime=write_onnx(tmp_path / "tiny.onnx"))
    first = generate(of, out)
    for converted in (out / "artifacts").iterdir():
        converted.unlink()

    lost = generate(of, out)
    elsewhere = generate(of, out, machine=Machine(kind="other", cores=1, frameworks=("onnxruntime",)))
    on_others = generate(of, out, items=items(61))

    assert (first.ran, lost.ran, elsewhere.ran, on_others.ran) == (3, 2, 3, 3)
    assert lost.variants == first.variants


def write_network_pt2(path: Path, *, scale: float) -> Path:
    import torch

    layer = torch.nn.Linear(FEATURES, WEIGHT.shape[1], bias=False).eval()
    layer.load_state_dict({"weight": torch.from_numpy(scale / 2 * WEIGHT.T.copy())})
    shapes = ({0: torch.export.Dim("n", max=64)},)
    torch.export.save(torch.export.export(layer, (torch.zeros(2, FEATURES),), dynamic_shapes=shapes), path)
    return path
