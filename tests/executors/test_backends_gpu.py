"""onnxruntime's GPU backend against a recorded interface (recorded.py): never run on a GPU.

What is real here is onnxruntime's I/O binding, on host memory.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.backends import onnx_gpu
from executors.backends.compiled import ABOUT, Compiled
from executors.backends.device import Shared
from executors.backends.onnx_gpu import OnnxGpu, Provider, cuda, tensorrt
from executors.backends.protocol import BackendMissing, LoadFailed
from executors.devices import CUDA, TENSORRT
from registry.records import Model
from streams.errors import ModelFailed
from tests.executors.models import CLASSES, FEATURES, model, registered, variant, write_onnx
from tests.executors.recorded import RecordedOrt, falling, gpu

pytestmark = pytest.mark.models


@pytest.fixture
def ort(monkeypatch: pytest.MonkeyPatch) -> RecordedOrt:
    recorded = RecordedOrt()
    monkeypatch.setattr(onnx_gpu, "ort", recorded)
    monkeypatch.setattr(onnx_gpu, "tensorrt_version", lambda: "10.9.0")
    monkeypatch.setattr(onnx_gpu, "_sessions", Shared())
    return recorded


def onnx(
    tmp_path: Path, *, provider: Provider = "cuda", free: Any = None, of: Model | None = None, **changes: Any
) -> OnnxGpu:
    path = tmp_path / "tiny.onnx"
    if not path.exists():
        write_onnx(path)
    fields = {"name": "tiny-gpu", "hardware": "gpu", "batch_max": 6, **changes}
    return OnnxGpu(
        path, variant("onnxruntime", **fields), of or registered("onnxruntime", path), provider=provider,
        cache=Compiled(tmp_path / "compiled"), gpu=free or gpu,
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 3, 6])
def test_onnx_any_batch_is_padded_and_gives_its_own_rows(ort: RecordedOrt, tmp_path: Path, size: int) -> None:
    """A batch runs in the next size up, on memory that load allocated, and the padding is not in the answer."""
    backend = onnx(tmp_path)
    backend.load()
    allocated = list(ort.allocated)
    batch = np.arange(size * FEATURES, dtype="float32").reshape(size, FEATURES)

    outputs = backend.run(batch)

    np.testing.assert_array_equal(outputs, 2 * batch[:, :CLASSES])
    assert ort.ran[-1] == {1: 1, 3: 4, 6: 6}[size]
    assert ort.allocated == allocated == [((n, FEATURES), "float32") for n in (6, 4, 2, 1)]


def test_onnx_two_batches_share_no_memory(ort: RecordedOrt, tmp_path: Path) -> None:
    """The output stays bound, so an answer that was given must be a copy."""
    backend = onnx(tmp_path)
    backend.load()

    first = backend.run(np.ones((2, FEATURES), "float32"))
    backend.run(np.zeros((2, FEATURES), "float32"))

    assert first.tolist() == [[2, 2, 2], [2, 2, 2]]


def test_onnx_cuda_lanes_share_a_session_and_each_has_bindings(ort: RecordedOrt, tmp_path: Path) -> None:
    """The weights are on the device once; the memory is charged to the lane that loaded them."""
    lanes = [onnx(tmp_path, free=falling(20_000, 19_700)), onnx(tmp_path, free=falling(19_700, 19_690))]
    for lane in lanes:
        lane.load()

    assert len(ort.sessions) == 1
    assert [lane.device_bytes >> 20 for lane in lanes] == [300, 0]
    lanes[0].close()
    assert lanes[1].run(np.ones((1, FEATURES), "float32")).tolist() == [[2, 2, 2]]
    lanes[1].close()
    lanes[1].close()
    onnx(tmp_path).load()
    assert len(ort.sessions) == 2


def test_onnx_cuda_asks_for_what_is_documented(ort: RecordedOrt, tmp_path: Path) -> None:
    """One device, an arena that takes what is asked and no more than is free, the CPU for nodes that CUDA lacks."""
    onnx(tmp_path, free=falling(20_000)).load()

    (providers,) = ort.sessions
    assert providers == cuda(limit_bytes=(20_000 - 512) << 20)
    assert [name for name, _ in providers] == [CUDA, "CPUExecutionProvider"]
    assert providers[0][1]["arena_extend_strategy"] == "kSameAsRequested"


def test_tensorrt_engine_has_a_profile_over_all_batches_and_a_place_by_versions(
    ort: RecordedOrt, tmp_path: Path
) -> None:
    """The engine lies under everything that it depends on, and is built at load for 1 to the cap."""
    backend = onnx(tmp_path, provider="tensorrt", precision="fp16")
    backend.load()

    own = ort.sessions[0][0][1]
    (place,) = (p for p in (tmp_path / "compiled").iterdir() if p.is_dir())
    assert [name for name, _ in ort.sessions[0]] == [TENSORRT, CUDA, "CPUExecutionProvider"]
    assert own["trt_engine_cache_path"] == own["trt_timing_cache_path"] == str(place)
    assert own["trt_fp16_enable"] is True
    assert "trt_bf16_enable" not in own
    assert (own["trt_profile_min_shapes"], own["trt_profile_max_shapes"]) == ("x:1x4", "x:6x4")
    assert backend.versions["tensorrt"] == "10.9.0"
    about = (place / ABOUT).read_text()
    assert all(part in about for part in ('"10.9.0"', '"550.90"', '"NVIDIA A10G"', '"8.6"', '"fp16"', '"6"'))


def test_tensorrt_lanes_have_sessions_of_their_own_and_one_place(ort: RecordedOrt, tmp_path: Path) -> None:
    """A TensorRT session runs one batch at a time, so sharing it would queue the lanes."""
    for _ in range(2):
        onnx(tmp_path, provider="tensorrt").load()

    assert len(ort.sessions) == 2
    assert len([p for p in (tmp_path / "compiled").iterdir() if p.is_dir()]) == 1


@pytest.mark.parametrize("version", ["10.9.0", "10.10.0"])
def test_tensorrt_another_version_is_another_place(
    ort: RecordedOrt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """An engine of an older TensorRT is never offered to a newer one."""
    onnx(tmp_path, provider="tensorrt").load()
    monkeypatch.setattr(onnx_gpu, "tensorrt_version", lambda: version)

    onnx(tmp_path, provider="tensorrt").load()

    places = {providers[0][1]["trt_engine_cache_path"] for providers in ort.sessions}
    assert len(places) == (1 if version == "10.9.0" else 2)


def test_tensorrt_of_unknown_version_is_refused(
    ort: RecordedOrt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engines that cannot be told apart would be used by the wrong version."""
    monkeypatch.setattr(onnx_gpu, "tensorrt_version", lambda: None)

    with pytest.raises(BackendMissing, match="TensorRT's version is unknown"):
        onnx(tmp_path, provider="tensorrt").load()


def test_tensorrt_fp32_sets_no_flag_of_precision(tmp_path: Path) -> None:
    """Releases differ in which flags they know, and refuse others."""
    ((_, own), *_) = tensorrt(variant("onnxruntime"), model(), cache=tmp_path)

    assert not [name for name in own if name.endswith(("fp16_enable", "bf16_enable", "int8_enable"))]


def test_onnx_without_the_provider_says_what_to_install(tmp_path: Path) -> None:
    """The plain package of this very installation: it has no CUDA."""
    with pytest.raises(BackendMissing, match=r'and not CUDAExecutionProvider; .* pip install "headrace\[gpu\]"'):
        onnx(tmp_path).load()


def test_onnx_that_falls_back_to_the_cpu_is_refused(ort: RecordedOrt, tmp_path: Path) -> None:
    """onnxruntime goes on without CUDA when a library is missing; its profile would be a lie."""
    ort.chosen = "CPUExecutionProvider"

    with pytest.raises(BackendMissing, match="chose CPUExecutionProvider in place of CUDAExecutionProvider"):
        onnx(tmp_path).load()
    assert len(onnx_gpu._sessions) == 0


def test_onnx_that_does_not_fit_is_refused_before_it_loads(ort: RecordedOrt, tmp_path: Path) -> None:
    """Less than the reserve is free: no session is made."""
    with pytest.raises(LoadFailed, match="of device memory; 500 MiB are free, 512 MiB of them reserved"):
        onnx(tmp_path, free=falling(500)).load()
    assert ort.sessions == []


def test_onnx_other_names_or_shapes_fail_at_load(ort: RecordedOrt, tmp_path: Path) -> None:
    """What cannot run is refused with what there is, and leaves no session behind."""
    write_onnx(tmp_path / "tiny.onnx")
    for changes, match in (({"input_name": "image"}, r"inputs \['x'\]"), ({"input_shape": (5,)}, r"batch of \[6, 5\]")):
        with pytest.raises(LoadFailed, match=match):
            onnx(tmp_path, of=model(**changes)).load()
    assert len(onnx_gpu._sessions) == 0


def test_onnx_wrong_batch_fails_and_the_next_runs(ort: RecordedOrt, tmp_path: Path) -> None:
    """An error of one batch is that batch's."""
    backend = onnx(tmp_path)
    backend.load()

    for wrong in (np.ones((2, FEATURES + 1), "float32"), np.ones((2, 1), "float32"), np.ones((2, FEATURES), "float64")):
        with pytest.raises(ModelFailed, match=r"tiny-gpu: items of .* are not \[4\] float32"):
            backend.run(wrong)

    assert backend.run(np.ones((1, FEATURES), "float32")).shape == (1, CLASSES)


def test_onnx_lane_that_nobody_closed_leaves_nothing(ort: RecordedOrt, tmp_path: Path) -> None:
    """A load that was given up elsewhere must not hold the device's memory."""
    backend = onnx(tmp_path)
    backend.load()
    assert len(onnx_gpu._sessions) == 1

    del backend
    gc.collect()

    assert len(onnx_gpu._sessions) == 0
