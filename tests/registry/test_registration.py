"""`model.toml`: what is read, and every problem at once with its field."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry import registration
from registry.archives import BadArtifact
from registry.manifest import BadManifest
from registry.records import Step
from registry.registration import Input, Published, Registration

WHOLE = """
name = "digits-cnn"
task = "digit-classification"
version = "2"
artifacts = ["model.onnx", "sub/model.pt2"]
validation = "digits.npz"
labels = ["zero", "one"]
slo_ms_default = 50.0
[input]
shape = [8, 8]
[postprocess]
name = "top-k"
params = { k = 2 }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "model.toml"
    path.write_text(text)
    return path


def test_read_whole_file_with_paths_from_its_own_folder(tmp_path: Path) -> None:
    """So that the folder can be moved, and the command be given from anywhere."""
    assert registration.read(write(tmp_path, WHOLE)) == Registration(
        name="digits-cnn",
        task="digit-classification",
        version="2",
        artifacts=(str(tmp_path / "model.onnx"), str(tmp_path / "sub" / "model.pt2")),
        validation=str(tmp_path / "digits.npz"),
        labels=("zero", "one"),
        slo_ms_default=50.0,
        input=Input(shape=(8, 8)),
        postprocess=Step(name="top-k", params={"k": 2}),
    )


def test_read_unknown_field_or_type_is_named(tmp_path: Path) -> None:
    """A spelling mistake must not pass for a default."""
    with pytest.raises(BadManifest, match="unknown field `valdation`"):
        registration.read(write(tmp_path, WHOLE.replace("validation", "valdation")))
    with pytest.raises(BadManifest, match=r"Expected `str`, got `int` - at `\$\.labels"):
        registration.read(write(tmp_path, WHOLE.replace('"zero", "one"', "0, 1")))
    with pytest.raises(BadManifest, match="is not TOML"):
        registration.read(write(tmp_path, "name = "))
    with pytest.raises(BadManifest, match="cannot be read: No such file"):
        registration.read(tmp_path / "gone.toml")


def test_checked_tells_every_problem_at_once() -> None:
    """Each with its value and what is wanted."""
    wrong = Registration(
        name="Digits!", task="", artifacts=(), version="-", labels=("a", "a"), factory="os.system",
        input=Input(shape=(0,)), accuracy=Published(value=90.0, source=""), tolerance=0.0, slo_ms_default=0.0,
    )  # fmt: skip

    with pytest.raises(BadManifest) as caught:
        registration.checked(wrong, Path(), "here")

    for told in (
        "name 'Digits!' must be", "task '' must be", "version '-' must be", "artifacts is empty",
        "labels holds one twice",
        "factory 'os.system' must be package.module:callable", "input.shape (0,) must be positive",
        "accuracy.value 90 is outside 0 to 1", "accuracy.source is empty", "tolerance 0 is outside",
        "slo_ms_default 0 must be more",
    ):  # fmt: skip
        assert f"here: {told}" in caught.value.message


def test_checked_nothing_says_how_good_it_is() -> None:
    """Neither a validation set nor a published figure."""
    with pytest.raises(BadManifest, match=r"neither validation .* nor \[accuracy\]"):
        registration.checked(Registration(name="a", task="t", artifacts=("a.onnx",)), Path(), "here")


def test_kinds_by_ending_and_one_for_each_framework() -> None:
    """A state dict is none without the factory that makes its network."""

    def kinds(*artifacts: str, factory: str = "") -> dict[str, str]:
        own = Registration(name="a", task="t", artifacts=artifacts, factory=factory)
        return {framework: kind for framework, (kind, _) in own.kinds().items()}

    assert kinds("a.onnx", "a.pt2") == {"onnxruntime": "onnx", "torch": "pt2"}
    assert kinds("a.ts") == {"torch": "torchscript"}
    assert kinds("a.pt", factory="shop.nets:digits") == {"torch": "factory"}
    with pytest.raises(BadArtifact, match=r"a\.pt: of its ending one of \.jit, .* a state dict needs `factory`"):
        kinds("a.pt")
    with pytest.raises(BadArtifact, match=r"a\.pt2 and b\.ts are both for torch"):
        kinds("a.pt2", "b.ts")
