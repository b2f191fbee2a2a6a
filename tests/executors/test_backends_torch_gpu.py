"""torch's GPU backend against a recorded torch.cuda (recorded.py): never run on a GPU.

What is real here: torch's modules and autocast, on the CPU, and the signatures of torch.cuda, which this installation
has without a device.
"""

from __future__ import annotations

import gc
import inspect
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from executors.backends import torch_gpu
from executors.backends.device import Shared
from executors.backends.protocol import BackendMissing, LoadFailed
from executors.backends.torch_gpu import TorchGpu
from registry.records import Model
from streams.errors import ModelFailed
from tests.executors.models import CLASSES, FEATURES, model, registered, variant, write_pt2
from tests.executors.recorded import RecordedCuda

pytestmark = pytest.mark.models


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

    for other in (np.ones((2, FEATURES + 1), "float32"), np.ones((2, 1), "float32"), np.ones((2, FEATURES), "float64")):
        with pytest.raises(ModelFailed, match=r"tiny-gpu: items of .* are not \[4\] float32"):
            backend.run(other)
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


def test_torch_compiled_is_compiled_for_its_shapes_and_captured(
    no_models: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch.compile per shape, without graphs of its own, which belong to one thread; then ours."""
    asked: list[dict[str, Any]] = []

    def compiled(module: Any, **options: Any) -> Any:
        asked.append(options)
        return module

    monkeypatch.setattr(torch, "compile", compiled)
    backend = pt2(tmp_path, compiled=True)
    backend.load()

    assert asked == [{"dynamic": False}]
    assert backend.captured == (1, 2, 4, 6)


def test_torch_lane_that_nobody_closed_leaves_nothing(no_models: None, tmp_path: Path) -> None:
    """A load that was given up elsewhere must not hold the device's memory."""
    backend = pt2(tmp_path)
    backend.load()
    assert len(torch_gpu._models) == 1

    del backend
    gc.collect()

    assert len(torch_gpu._models) == 0
