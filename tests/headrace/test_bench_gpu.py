"""`headrace bench gpu` where there is no GPU: it says why, and what it would run is sound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.gpu import Case, report, require_gpu, run
from executors.backends.protocol import Backend, BackendMissing
from executors.backends.stub import Stub
from executors.devices import Seen, gpus
from executors.probing import NoDevice
from tests.executors.models import model, variant

SMALL = ((8, 1, 1), (16, 1, 2))


def seen(**changes: Any) -> Seen:
    return Seen(architecture="x86_64", cores=2, memory_bytes=1 << 30, **changes)


class Missing(Stub):
    def load(self) -> None:
        raise BackendMissing("no such provider")


def test_command_without_a_gpu_ends_in_one_line(tmp_path: Path) -> None:
    """The status of a server fault, nothing on stdout, and the words of `headrace hardware`."""
    environ = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "bench", "gpu", "--json"],
        cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (3, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("headrace: no_device: this benchmark needs a GPU: ")
    assert "there is no nvidia-smi" in line


def test_require_gpu_gives_the_reason_and_what_to_do() -> None:
    """As the hardware command says it."""
    with pytest.raises(NoDevice, match="there is no nvidia-smi and no /dev/nvidia0 -> use a machine with"):
        require_gpu(seen())


def test_run_measures_each_number_of_lanes_and_tells_what_is_refused() -> None:
    """A refused backend has one row with its reason; the others go on."""
    cases = [Case("stub", "fp32", lambda: Stub(outputs=3)), Case("gone", "fp16", Missing)]

    rows = run(model(), cases, batches=(1, 4), lanes=(1, 2), budget_s=0.05)

    assert [(row["backend"], row["lanes"], "refused" in row) for row in rows] == [
        ("stub", 1, False), ("stub", 2, False), ("gone", 1, True),
    ]  # fmt: skip
    assert rows[2]["refused"] == "backend_missing: no such provider"
    assert set(rows[0]["p50_ms"]) == set(rows[0]["queries_per_s"]) == {1, 4}
    assert len(rows[1]["load_ms"]) == 2


def test_report_is_one_object_with_device_and_versions(capsys: pytest.CaptureFixture[str]) -> None:
    """What a result is worth depends on what it ran on."""
    (some,) = gpus("0, NVIDIA A10G, GPU-3a, 23028, 22500, 550.90, 8.6")
    rows = run(model(), [Case("stub", "fp32", Stub)], batches=(1,), lanes=(1,), budget_s=0.05)
    report(rows, some, as_json=True)

    said = json.loads(capsys.readouterr().out)
    assert said["device"]["name"] == "NVIDIA A10G"
    assert said["cases"][0]["versions"] == {"stub": "1"}
    report([*rows, {"backend": "x", "precision": "fp32", "lanes": 1, "refused": "y"}], None, as_json=False)
    assert "stub" in capsys.readouterr().out


@pytest.mark.models
def test_network_is_resnet50_and_both_backends_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """25.6 million weights at full size; a small one answers alike in both, over recorded devices."""
    from benchmarks.resnet import IMAGE, build, resnet50
    from executors.backends import onnx_gpu
    from executors.backends.torch_gpu import TorchGpu
    from tests.executors import recorded

    assert sum(p.numel() for p in resnet50().parameters()) == 25_557_032
    built = build(tmp_path, stages=SMALL)
    batch = np.random.default_rng(0).normal(size=(2, *IMAGE)).astype("float32")
    monkeypatch.setattr(onnx_gpu, "ort", recorded.RecordedOrt())
    own = variant("torch", hardware="gpu", batch_max=2)

    lanes: list[Backend] = [
        TorchGpu(built.program, own, built.model, device="cpu", cuda=recorded.RecordedCuda()),
        onnx_gpu.OnnxGpu(built.onnx, own, built.model, provider="cuda", gpu=recorded.gpu),
    ]
    for lane in lanes:
        lane.load()
    first, second = (lane.run(batch) for lane in lanes)
    for lane in lanes:
        lane.close()

    assert first.shape == (2, 1000)
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-4)


def test_benchmark_has_the_name_that_the_docs_give() -> None:
    """`headrace bench` finds benchmarks by their `main`."""
    assert callable(gpu.main)
