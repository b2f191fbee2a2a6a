"""torch in reduced precision and compiled, and a variant with a file of its own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.backends.open import open_backend
from executors.backends.protocol import Backend, BackendMissing, LoadFailed
from registry.records import Artifact
from tests.executors.models import CLASSES, FEATURES, WEIGHT, registered, variant, write_onnx, write_pt2

pytestmark = pytest.mark.models


def loaded(path: Path, **changes: Any) -> Backend:
    backend = open_backend(variant("torch", **changes), registered("torch", path))
    backend.load()
    return backend


def batch(size: int) -> Any:
    return np.random.default_rng(size).uniform(-1, 1, (size, FEATURES)).astype("float32")


@pytest.mark.parametrize(("precision", "steps"), [("bf16", 2**8), ("fp16", 2**11)])
def test_run_reduced_precision_takes_and_gives_float32(precision: str, steps: int, tmp_path: Path) -> None:
    """The record of the model holds for every precision; the values are rounded to what that one can tell apart."""
    backend = loaded(write_pt2(tmp_path / "tiny.pt2"), precision=precision)

    got, exact = backend.run(batch(3)), batch(3) @ WEIGHT

    assert got.dtype == np.float32
    assert 0 < np.abs(got - exact).max() <= 2 * 2 / steps


def test_load_unknown_precision_lists_the_known(tmp_path: Path) -> None:
    """A record from a newer writer ends in words."""
    with pytest.raises(LoadFailed, match="precision 'fp8' is not one of fp32, bf16, fp16"):
        loaded(write_pt2(tmp_path / "tiny.pt2"), precision="fp8")


def test_run_compiled_never_compiles_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load compiles for one item and for any number; a batch of a new size must not wait for a compiler."""
    import torch

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    backend = loaded(write_pt2(tmp_path / "tiny.pt2"), compiled=True)

    with torch.compiler.set_stance("fail_on_recompile"):
        for size in (1, 2, 3, 5, 8, 1):
            np.testing.assert_allclose(backend.run(batch(size)), batch(size) @ WEIGHT, atol=1e-6)


def test_load_compiled_without_a_compiler_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images for serving rarely have one."""
    monkeypatch.setenv("CXX", "no-such-compiler")

    with pytest.raises(BackendMissing, match="needs a C\\+\\+ compiler, and there is no 'no-such-compiler'"):
        loaded(write_pt2(tmp_path / "tiny.pt2"), compiled=True)


def test_run_a_variant_with_its_own_file_runs_that(tmp_path: Path) -> None:
    """A quantised copy is another file of the same framework; the model's need not be there."""
    own = write_onnx(tmp_path / "own.onnx")
    artifact = Artifact(path=str(own), sha256=hashlib.sha256(own.read_bytes()).hexdigest())
    gone = registered("onnxruntime", write_onnx(tmp_path / "tiny.onnx"))
    Path(gone.artifacts["onnxruntime"].path).unlink()

    backend = open_backend(variant("onnxruntime", artifact=artifact), gone)
    backend.load()

    assert backend.run(batch(2)).shape == (2, CLASSES)
