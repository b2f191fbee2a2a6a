"""The GPU backends against recorded interfaces (recorded.py): never run on a GPU.

What is real here: onnxruntime's I/O binding on host memory, torch's modules, autocast on the CPU, and the signatures of
torch.cuda, which this installation has without a device.
"""

from __future__ import annotations

import inspect
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from executors.backends import onnx_gpu, torch_gpu
from executors.backends.compiled import ABOUT, Compiled
from executors.backends.device import Shared
from executors.backends.onnx_gpu import OnnxGpu, Provider, cuda, tensorrt
from executors.backends.protocol import BackendMissing, LoadFailed
from executors.backends.torch_gpu import TorchGpu
from executors.devices import CUDA, TENSORRT
from registry.records import Model
from streams.errors import ModelFailed
from tests.executors.models import CLASSES, FEATURES, model, registered, variant, write_onnx, write_pt2
from tests.executors.recorded import RecordedCuda, RecordedOrt, falling, gpu

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

    with pytest.raises(ModelFailed, match="tiny-gpu: "):
        backend.run(np.ones((2, FEATURES + 1), "float32"))

    assert backend.run(np.ones((1, FEATURES), "float32")).shape == (1, CLASSES)


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_gpu, "_models", Shared())


def pt2(
    tmp_path: Path, device: RecordedCuda | None = None, *, graphs: bool = True, of: Model | None = None, **changes: Any
) -> TorchGpu:
    path = tmp_path / "tiny.pt2"
    if not path.exists():
        write_pt2(path)
    fields = {"name": "tiny-gpu", "hardware": "gpu", "batch_max": 6, **changes}
    return TorchGpu(
        path, variant("torch", **fields), of or registered("torch", path), device="cpu", cuda=device or RecordedCuda(),
        graphs=graphs,
    )  # fmt: skip


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("size", [1, 3, 6])
def test_torch_any_batch_gives_its_own_rows(no_models: None, tmp_path: Path, size: int, graphs: bool) -> None:
    """Captured or eager: the batch's rows, whatever ran in that memory before."""
    backend = pt2(tmp_path, graphs=graphs)
    backend.load()
    batch = np.arange(size * FEATURES, dtype="float32").reshape(size, FEATURES)
    before = backend.run(np.full((6, FEATURES), 9, "float32"))

    outputs = backend.run(batch)

    np.testing.assert_array_equal(outputs, 2 * batch[:, :CLASSES])
    assert before.tolist() == [[18, 18, 18]] * 6
    assert backend.captured == ((1, 2, 4, 6) if graphs else ())


def test_torch_captures_largest_first_on_its_stream_from_one_pool(no_models: None, tmp_path: Path) -> None:
    """Warm-up on the lane's stream, then capture; the first graph's pool serves the others."""
    device = RecordedCuda()
    pt2(tmp_path, device).load()

    captures = [call for call in device.calls if call.startswith("capture")]
    assert captures == ["capture on stream-1, pool None", *["capture on stream-1, pool pool"] * 3]
    assert device.calls.index("stream-1 waits for current") < device.calls.index("on stream-1")
    assert device.calls.index("on stream-1") < device.calls.index(captures[0])


def test_torch_run_is_copy_replay_copy_wait(no_models: None, tmp_path: Path) -> None:
    """One batch: everything on the lane's stream, and one wait at the end."""
    device = RecordedCuda()
    backend = pt2(tmp_path, device)
    backend.load()
    device.calls.clear()

    backend.run(np.ones((3, FEATURES), "float32"))

    assert device.calls == ["on stream-1", "replay", "synchronize stream-1"]


def test_torch_lanes_share_weights_and_have_streams(no_models: None, tmp_path: Path) -> None:
    """Two lanes of a variant: one copy of the weights, two streams; the last to leave empties the allocator's cache."""
    device = RecordedCuda()
    lanes = [pt2(tmp_path, device) for _ in range(2)]
    for lane in lanes:
        lane.load()
    assert len(torch_gpu._models) == 1
    assert {"on stream-1", "on stream-2"} <= set(device.calls)

    lanes[0].close()
    assert "empty_cache" not in device.calls
    assert lanes[1].run(np.ones((1, FEATURES), "float32")).tolist() == [[2, 2, 2]]
    lanes[1].close()
    lanes[1].close()
    assert device.calls.count("empty_cache") == 1


def test_torch_lanes_run_at_once_without_mixing(no_models: None, tmp_path: Path) -> None:
    """Each lane in its own thread, many batches: every answer belongs to its batch."""
    lanes = [pt2(tmp_path, graphs=False) for _ in range(2)]
    for lane in lanes:
        lane.load()
    wrong: list[int] = []

    def work(lane: TorchGpu, first: int) -> None:
        for n in range(first, first + 50):
            batch = np.full((1 + n % 6, FEATURES), n, "float32")
            if not np.array_equal(lane.run(batch), 2 * batch[:, :CLASSES]):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(lane, 100 * n)) for n, lane in enumerate(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_torch_that_cannot_be_captured_runs_eagerly(no_models: None, tmp_path: Path) -> None:
    """An operator that waits for the device forbids a graph, and nothing else."""
    backend = pt2(tmp_path, RecordedCuda(captures=False))
    backend.load()

    assert backend.captured == ()
    assert backend.run(np.ones((3, FEATURES), "float32")).tolist() == [[2, 2, 2]] * 3


@pytest.mark.parametrize(("precision", "answer"), [("fp32", 2.0 + 2**-11), ("bf16", 2.0), ("fp16", 2.0)])
def test_torch_autocast_computes_in_its_precision_and_answers_in_fp32(
    no_models: None, tmp_path: Path, precision: str, answer: float
) -> None:
    """1 + 2^-12 is kept by fp32 only; answers are fp32 whatever was computed in."""
    backend = pt2(tmp_path, precision=precision)
    backend.load()

    outputs = backend.run(np.full((1, FEATURES), 1.0 + 2**-12, "float32"))

    assert outputs.dtype == np.float32
    assert outputs[0, 0] == answer


def test_torch_memory_is_what_loading_reserved(no_models: None, tmp_path: Path) -> None:
    """The peak since load began, less what was held before."""
    backend = pt2(tmp_path)
    backend.load()

    assert backend.device_bytes == 100 << 20


def test_torch_that_does_not_fit_is_refused_before_it_loads(no_models: None, tmp_path: Path) -> None:
    """The file alone is larger than what is free beyond the reserve."""
    with pytest.raises(LoadFailed, match="tiny-gpu: needs at least 0 MiB of device memory; 512 MiB are free"):
        pt2(tmp_path, RecordedCuda(free=512 << 20)).load()


def test_torch_out_of_memory_at_load_names_batch_and_memory(
    no_models: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fits only in part is given back, and the message says how much there was."""

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore")

    monkeypatch.setattr(torch_gpu, "forward", lambda *_: full)
    with pytest.raises(
        LoadFailed, match=r"batches of 6 do not fit: 20480 of 24576 MiB of NVIDIA A10G were free \(CUDA"
    ):
        pt2(tmp_path).load()
    assert len(torch_gpu._models) == 0


def test_torch_without_a_device_is_missing(tmp_path: Path) -> None:
    """This very installation: torch for CUDA, and no GPU."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    backend = TorchGpu(write_pt2(tmp_path / "t.pt2"), variant("torch"), model())

    with pytest.raises(BackendMissing, match="finds no device"):
        backend.load()


def test_torch_unknown_precision_is_missing(no_models: None, tmp_path: Path) -> None:
    """int8 has no kernels in an exported fp32 program."""
    with pytest.raises(BackendMissing, match="precision 'int8' is not one of fp32, fp16, bf16"):
        pt2(tmp_path, precision="int8").load()


def test_torch_wrong_shapes_fail_at_load_or_for_their_batch(no_models: None, tmp_path: Path) -> None:
    """A model that is not what is registered is refused; a wrong batch is that batch's failure."""
    with pytest.raises(LoadFailed, match=r"a first batch of \[6, 5\] float32"):
        pt2(tmp_path, of=model(input_shape=(5,))).load()
    assert len(torch_gpu._models) == 0
    backend = pt2(tmp_path)
    backend.load()

    with pytest.raises(ModelFailed, match="tiny-gpu: "):
        backend.run(np.ones((2, FEATURES + 1), "float32"))
    with pytest.raises(ModelFailed, match="tiny-gpu: "):
        backend.run(np.ones((2, FEATURES), "float64"))
    assert backend.run(np.ones((1, FEATURES), "float32")).tolist() == [[2, 2, 2]]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Stream", ("device",)),
        ("stream", ("stream",)),
        ("current_stream", ("device",)),
        ("mem_get_info", ("device",)),
        ("memory_reserved", ("device",)),
        ("max_memory_reserved", ("device",)),
        ("reset_peak_memory_stats", ("device",)),
        ("get_device_name", ("device",)),
        ("empty_cache", ()),
        ("is_available", ()),
        ("graph", ("cuda_graph", "pool", "stream", "capture_error_mode")),
    ],
)
def test_recorded_calls_exist_in_torch_cuda(name: str, arguments: tuple[str, ...]) -> None:
    """What the recorded interface stands for is in the installed torch, under these names."""
    real = getattr(torch.cuda, name)
    if name == "Stream":
        real = real.__new__
    parameters = inspect.signature(real).parameters

    assert set(arguments) <= set(parameters)
    assert {"replay", "pool"} <= set(dir(torch.cuda.CUDAGraph))
