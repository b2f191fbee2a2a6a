"""Registering again: what is remembered, and everything that makes it be looked at anew."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from registry import register_memory
from registry.manifest import task_of, variants
from registry.records import Artifact
from registry.register import Registered
from registry.register_memory import Memory, key_of
from registry.registration import Registration
from streams.blobs import LocalStore, digest_of, name_of
from tests.executors.models import model

WEIGHTS = b"weights"


def made(**changes: str) -> Registered:
    fields = {"path": "", "sha256": digest_of(WEIGHTS).removeprefix("sha256:"), **changes}
    of = model(artifacts={"onnxruntime": Artifact(**fields, bytes=7, format="onnx")})
    return Registered(model=of, task=task_of(of), variants=tuple(variants(of)), differences={"torch": 1e-6})


def test_memory_gives_back_what_the_store_still_has(tmp_path: Path) -> None:
    """With the paths of this store; without its files, or with another key, nothing."""
    store, memory = LocalStore(tmp_path / "store"), Memory(tmp_path / "kept")
    memory.put("k", made(path="/elsewhere"))
    before = memory.get("k", store)
    store.put(WEIGHTS)
    place = store.root / name_of(digest_of(WEIGHTS))

    assert before is None
    assert memory.get("k", store) == made(path=str(place))
    assert memory.get("other", store) is None
    assert memory.get("", store) is None


def test_memory_damaged_or_unwritable_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It only ever saves time."""
    caplog.set_level(logging.WARNING)  # a command tried in this process may have raised it
    store = LocalStore(tmp_path / "store")
    store.put(WEIGHTS)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "k.json").write_bytes(b'{"model":')
    (tmp_path / "file").touch()
    Memory(tmp_path / "file").put("k", made())

    assert Memory(tmp_path / "kept").get("k", store) is None
    assert "checks not kept" in caplog.text


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go."""
    monkeypatch.setattr(register_memory, "KEPT_MAX", 2)
    memory = Memory(tmp_path)
    for key in ("a", "b", "c"):
        memory.put(key, made())

    assert len(list(tmp_path.iterdir())) == 2


def test_key_depends_on_everything_that_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said, the files by content and not by name, the checks; none with a factory or for what is too large."""
    for name in ("a.onnx", "b.onnx", "c.onnx"):
        (tmp_path / name).write_bytes(b"other" if name == "c.onnx" else WEIGHTS)

    def key(path: str = "a.onnx", **changes: str) -> str:
        own = Registration(**{"name": "m", "task": "t", "artifacts": (str(tmp_path / path),), **changes})  # type: ignore[arg-type]
        return key_of(own, bytes_max=100)

    first, same = key(), key("b.onnx")
    others = [key("c.onnx"), key(name="n"), key(version="2"), key(validation=str(tmp_path / "c.onnx"))]
    monkeypatch.setattr(register_memory, "CHECKS", 99)
    others.append(key())

    assert first == same
    assert len({first, *others}) == 6
    assert key("gone.onnx") == key(factory="shop.nets:digits") == ""
    assert key_of(Registration(name="m", task="t", artifacts=("/dev/zero",)), bytes_max=100) == ""
    (tmp_path / "a.onnx").write_bytes(bytes(101))
    assert key() == ""
