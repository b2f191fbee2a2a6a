"""Backends: the same answers from each, widths kept, and every way to fail said in words."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.backends.open import open_backend
from executors.backends.protocol import ArtifactBroken, Backend, BackendMissing, LoadFailed
from executors.backends.stub import Stub, stub_artifact
from registry.records import Framework, Hardware, Model
from streams.errors import BadSettings, ModelFailed, ServerFault
from tests.executors.models import CLASSES, FEATURES, model, registered, variant, write_onnx, write_pt2

Real = tuple[Framework, Path, Callable[..., Path]]


@pytest.fixture(params=["onnxruntime", "torch"])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Real:
    if request.param == "torch":
        return "torch", write_pt2(tmp_path / "tiny.pt2"), write_pt2
    return "onnxruntime", write_onnx(tmp_path / "tiny.onnx"), write_onnx


def loaded(framework: Framework, of: Model, **changes: Any) -> Backend:
    backend = open_backend(variant(framework, **changes), of)
    backend.load()
    return backend


@pytest.mark.models
@pytest.mark.parametrize("size", [1, 2, 5])
def test_run_any_batch_size_one_row_per_item(real: Real, size: int) -> None:
    """Both frameworks compute the same rows, in order, at any batch size up to the cap."""
    framework, path, _ = real
    batch = np.arange(size * FEATURES, dtype="float32").reshape(size, FEATURES)

    outputs = loaded(framework, registered(framework, path)).run(batch)

    np.testing.assert_array_equal(outputs, 2 * batch[:, :CLASSES])


@pytest.mark.models
def test_run_read_only_batch_is_accepted(real: Real) -> None:
    """A batch of one may be a view of the record's own bytes."""
    framework, path, _ = real
    batch = np.frombuffer(np.ones(FEATURES, "float32").tobytes(), "float32").reshape(1, FEATURES)

    outputs = loaded(framework, registered(framework, path)).run(batch)

    assert outputs.tolist() == [[2, 2, 2]]


@pytest.mark.models
def test_run_wrong_shape_fails_and_the_next_batch_runs(real: Real) -> None:
    """An error of the framework becomes ModelFailed, and the lane lives on."""
    framework, path, _ = real
    backend = loaded(framework, registered(framework, path))

    with pytest.raises(ModelFailed, match=f"tiny-{framework}: "):
        backend.run(np.ones((2, FEATURES + 1), "float32"))

    assert backend.run(np.ones((1, FEATURES), "float32")).shape == (1, CLASSES)


@pytest.mark.models
def test_load_wrong_registered_shape_is_load_failed(real: Real) -> None:
    """A model that cannot run what is registered fails before its first query."""
    framework, path, _ = real

    with pytest.raises(LoadFailed, match=r"a first batch of \[1, 5\] float32"):
        loaded(framework, registered(framework, path, input_shape=(5,)))


@pytest.mark.models
@pytest.mark.parametrize("framework", ["onnxruntime", "torch"])
def test_load_fixed_batch_axis_is_load_failed(framework: Framework, tmp_path: Path) -> None:
    """A batch axis fixed at export shows at load, not with the first full batch."""
    path = tmp_path / "fixed"
    of_one = write_onnx(path, batch=1) if framework == "onnxruntime" else write_pt2(tmp_path / "f.pt2", fixed=True)

    with pytest.raises(LoadFailed, match="a first batch of"):
        loaded(framework, registered(framework, of_one))


@pytest.mark.models
def test_load_onnx_other_names_lists_what_there_is(tmp_path: Path) -> None:
    """The message names the tensors that the file has."""
    path = write_onnx(tmp_path / "tiny.onnx")

    with pytest.raises(LoadFailed, match=r"inputs \['x'\] are not \['image'\]"):
        loaded("onnxruntime", registered("onnxruntime", path, input_name="image"))
    with pytest.raises(LoadFailed, match=r"no output 'logits' among \['y'\]"):
        loaded("onnxruntime", registered("onnxruntime", path, output_name="logits"))


@pytest.mark.models
@pytest.mark.parametrize("framework", ["onnxruntime", "torch"])
@pytest.mark.parametrize("data", [b"", b"not a model", b"PK\x05\x06" + b"\0" * 18])
def test_load_garbage_is_a_server_fault(framework: Framework, data: bytes, tmp_path: Path) -> None:
    """Whatever the registered file holds, loading it ends in words."""
    path = tmp_path / "garbage.pt2"
    path.write_bytes(data)

    with pytest.raises((LoadFailed, ArtifactBroken)):
        loaded(framework, registered(framework, path))


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.models
@pytest.mark.parametrize(
    "place", ["sample_inputs/model.pt", "constants/opaque_obj_0", "weights/config", "weights/m.pt"]
)
def test_load_pickle_bomb_is_refused_before_it_runs(place: str, tmp_path: Path) -> None:
    """An exported program whose loading would unpickle something is refused, wherever it hides."""
    import torch

    path, mark = write_pt2(tmp_path / "tiny.pt2"), tmp_path / "exploded"
    bomb = io.BytesIO()
    torch.save(Bomb(mark), bomb)
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    root = next(iter(members)).split("/")[0]
    if place == "weights/config":
        table = f"{root}/data/weights/model_weights_config.json"
        members[table] = members[table].replace(b'"use_pickle": false', b'"use_pickle": true')
    else:
        members[f"{root}/data/{place}"] = bomb.getvalue()
    with zipfile.ZipFile(path, "w") as target:
        for name, content in members.items():
            target.writestr(name, content)

    with pytest.raises(ArtifactBroken, match=r"unpickled|plain tensors"):
        loaded("torch", registered("torch", path))

    assert pickle.dumps(Bomb(mark))
    assert not mark.exists()


@pytest.mark.models
def test_torch_lanes_keep_their_own_width(tmp_path: Path) -> None:
    """Two lanes of unlike width, set in any order, run on their own number of threads."""
    import torch

    registered_model = registered("torch", write_pt2(tmp_path / "tiny.pt2"))
    seen: dict[int, list[int]] = {1: [], 2: []}
    barrier = threading.Barrier(2)

    def lane(width: int) -> None:
        backend = loaded("torch", registered_model, width=width)
        for _ in range(3):
            barrier.wait(timeout=30)
            backend.run(np.ones((2, FEATURES), "float32"))
            seen[width].append(torch.get_num_threads())

    threads = [threading.Thread(target=lane, args=(width,)) for width in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert seen == {1: [1, 1, 1], 2: [2, 2, 2]}


@pytest.mark.models
def test_torch_batch_on_a_new_thread_keeps_the_lanes_width(tmp_path: Path) -> None:
    """A pool may run a lane's batch on a thread that has never met torch."""
    import torch

    backend = loaded("torch", registered("torch", write_pt2(tmp_path / "tiny.pt2")), width=1)
    loaded("torch", registered("torch", tmp_path / "tiny.pt2"), width=2)
    seen: list[int] = []

    def run() -> None:
        backend.run(np.ones((1, FEATURES), "float32"))
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=60)

    assert seen == [1]


@pytest.mark.models
def test_close_twice_and_before_load_is_quiet(real: Real) -> None:
    """Giving up a lane never fails."""
    framework, path, _ = real
    backend = open_backend(variant(framework), registered(framework, path))
    backend.close()
    backend.load()
    backend.close()
    backend.close()

    with pytest.raises(AssertionError, match="run before load"):
        backend.run(np.ones((1, FEATURES), "float32"))


def test_open_artifact_changed_or_absent_is_refused(tmp_path: Path) -> None:
    """The hash is compared before a library sees the file."""
    path = tmp_path / "m.onnx"
    path.write_bytes(b"one")
    of_one = registered("onnxruntime", path)
    path.write_bytes(b"two")

    with pytest.raises(ArtifactBroken, match=r"sha256 of m\.onnx is 3fc4ccfe.*, registered is 7692c3ad"):
        open_backend(variant("onnxruntime"), of_one)
    path.unlink()
    with pytest.raises(ArtifactBroken, match="No such file"):
        open_backend(variant("onnxruntime"), of_one)
    with pytest.raises(ArtifactBroken, match=r"no torch artifact; it has \['onnxruntime'\]"):
        open_backend(variant("torch"), of_one)


@pytest.mark.parametrize(("framework", "extra"), [("onnxruntime", "onnx"), ("torch", "torch")])
def test_open_missing_library_names_the_extra(
    framework: Framework, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is the command that mends it."""
    path = tmp_path / "m"
    path.write_bytes(b"x")
    true_import = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("executors.backends."):
            raise ImportError(f"No module named {framework!r}")
        return true_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BackendMissing) as missing:
        open_backend(variant(framework), registered(framework, path))

    assert f'pip install "headrace[{extra}]"' in missing.value.message


@pytest.mark.models
@pytest.mark.parametrize(
    ("framework", "hardware", "why"),
    [
        ("torch", "gpu", "finds no device"),
        ("onnxruntime", "gpu", "and not CUDAExecutionProvider"),
        ("torch", "inf2", "torch-neuronx is not installed"),
        ("onnxruntime", "inf2", "onnxruntime does not run on inf2; torch does"),
    ],
)
def test_open_unlike_hardware_is_backend_missing(
    framework: Framework, hardware: Hardware, why: str, tmp_path: Path
) -> None:
    """No silent fall-back to the CPU: where there is no such device, opening or loading says so."""
    path = write_pt2(tmp_path / "t.pt2") if framework == "torch" else write_onnx(tmp_path / "t.onnx")

    with pytest.raises(BackendMissing, match=why):
        loaded(framework, registered(framework, path), hardware=hardware)


def test_errors_of_backends_are_ours_and_final() -> None:
    """The same variant on the same machine will not load by asking again."""
    for error in (BackendMissing, ArtifactBroken, LoadFailed):
        assert issubclass(error, ServerFault)
        assert not error.retryable


def test_stub_answers_the_class_that_its_item_names() -> None:
    """A test can tell whose answer it got; NaN stays in its row."""
    backend = open_backend(variant(), model())

    rows = backend.run(np.array([[4, 0], [np.nan, 0], [2, 0]], "float32"))

    np.testing.assert_array_equal(rows, [[0, 1, 0], [np.nan] * 3, [0, 0, 1]])


def test_stub_item_of_minus_one_fails_the_run() -> None:
    """The stand-in for an exception inside a model."""
    with pytest.raises(ModelFailed, match="begins with -1"):
        Stub().run(np.array([[0.0], [-1.0]]))


def test_stub_sleeps_what_its_artifact_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """l(b) = fixed + per_item b, read from the model's record."""
    slept: list[float] = []
    monkeypatch.setattr("executors.backends.stub.time.sleep", slept.append)
    artifact = stub_artifact(fixed_us=25_500, per_item_us=5_400)

    open_backend(variant(), model(artifacts={"stub": artifact})).run(np.zeros((4, FEATURES)))

    assert slept == [pytest.approx(0.0471)]


@pytest.mark.parametrize("path", ["stub", "stub:1", "stub:a:b", "sleep:1:2", "stub:-1:0", "stub:nan:0", "stub:1e99:0"])
def test_stub_unreadable_artifact_is_bad_settings(path: str) -> None:
    """A stub's latency is checked like any setting."""
    with pytest.raises(BadSettings, match="FIXED_US:PER_ITEM_US"):
        open_backend(
            variant(), model(artifacts={"stub": stub_artifact(fixed_us=0, per_item_us=0).__replace__(path=path)})
        )
