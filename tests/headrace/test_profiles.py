"""Profiles in the user's cache: which hold, and what takes whose place."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from executors.hardware import machine_kind
from headrace.profiles import current, held, remember, remembered
from registry import manifest, topic
from registry.catalog import Catalog
from registry.latency import Point
from registry.records import Artifact, Pool, Profile, encode
from streams import topics
from streams.settings import KafkaSettings
from tests.executors.models import model, variant, write_onnx

VERSIONS = {"python": platform.python_version()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def profile(**changes: Any) -> Profile:
    fields: dict[str, Any] = {
        "variant": "tiny-stub", "pool": "cpu", "machine": machine_kind(), "versions": VERSIONS, "artifact": "a1",
        "points": (Point(batch=1, p50_us=10, p99_us=20),), "source": "profiler",
    }  # fmt: skip
    return Profile(**{**fields, **changes})


def catalog(*profiles: Profile, sha256: str = "a1", version: str = "1") -> Catalog:
    made = Catalog()
    made.add(Pool(name="cpu", cores=2))
    made.add(model(version=version, artifacts={"stub": Artifact(path="stub:0:0", sha256=sha256)}))
    made.add(variant())
    for one in profiles:
        made.add(one)
    return made


def test_remembered_profile_comes_back_as_it_was() -> None:
    """Predicted points, their errors and all."""
    guess = Point(batch=2, p50_us=15, p99_us=30, provenance="predicted", error=0.2)
    kept = profile(points=(*profile().points, guess), lanes=2, load_cold_us=5, disturbed=0.25)

    assert remember(catalog(kept)) == 1
    assert held(catalog()) == [kept]
    assert remembered([model(artifacts={"stub": Artifact(path="", sha256="a1")}), variant()]) == [kept]


@pytest.mark.parametrize(
    ("change", "sha256", "version"),
    [
        ({"machine": "another x64"}, "a1", "1"),
        ({"versions": {"python": "2.7"}}, "a1", "1"),
        ({"versions": {"no-such-library": "1"}}, "a1", "1"),
        ({}, "b2", "1"),
        ({"artifact": ""}, "a1", "2"),
    ],
)
def test_remembered_profile_of_something_else_does_not_hold(change: dict[str, Any], sha256: str, version: str) -> None:
    """Another kind of machine, other libraries, another file; another version, where no file is named."""
    remember(catalog(profile(**change)))

    assert held(catalog(sha256=sha256, version=version)) == []


def test_remembered_profile_of_a_file_holds_in_every_version_of_it() -> None:
    """A folder of manifests and `register` give the same file two versions, and it is measured once."""
    remember(catalog(profile()))

    assert held(catalog(version="2")) == [profile()]


def test_remember_quick_look_does_not_replace_the_profiler() -> None:
    """What an executor measured in a second stays out, until the model is another."""
    thorough, quick = profile(), profile(source="executor", points=(Point(batch=1, p50_us=99, p99_us=99),))

    remember(catalog(thorough))
    assert remember(catalog(quick)) == 0
    assert held(catalog()) == [thorough]

    other = profile(source="executor", points=quick.points, artifact="")
    assert remember(catalog(other, version="2")) == 1
    assert held(catalog(version="2")) == [other]


def test_current_versions_are_those_installed() -> None:
    """A local build of a version counts as that version."""
    assert current(VERSIONS)
    assert current({})
    assert not current({"python": "3.0.0"})


def run(*args: str, folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace", "profile", "--models", str(folder), "--cores", "1", "--each", "0.2", *args],
        cwd=folder, env={"HEADRACE_CACHE_DIR": str(cache), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.models
def test_profile_command_measures_once_and_names_what_does_not_run(tmp_path: Path, cache: Path) -> None:
    """The first call profiles the one that runs, the next one only tries the other again, and --errors neither."""
    write_onnx(tmp_path / "tiny.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    for name in ("tiny", "broken"):
        file = tmp_path / f"{name}.onnx"
        (tmp_path / name).mkdir()
        artifact = Artifact(path=f"../{file.name}", sha256=hashlib.sha256(file.read_bytes()).hexdigest())
        described = model(name=name, artifacts={"onnxruntime": artifact})
        (tmp_path / name / manifest.MANIFEST).write_bytes(encode(described))

    first = run("--json", folder=tmp_path, cache=cache)
    again = run("--json", folder=tmp_path, cache=cache)
    errors = run("--errors", "--json", folder=tmp_path, cache=cache)

    told = msgspec.json.decode(first.stdout)
    assert [p["variant"] for p in told["profiles"]] == ["tiny/onnxruntime"]
    assert list(told["refused"]) == ["broken/onnxruntime"]
    assert (first.returncode, again.returncode, errors.returncode) == (1, 1, 0)
    assert msgspec.json.decode(again.stdout)["profiles"] == []
    assert [p["variant"] for p in msgspec.json.decode(errors.stdout)["profiles"]] == ["tiny/onnxruntime"]
    assert {p["provenance"] for p in told["profiles"][0]["points"]} == {"measured", "predicted"}


@pytest.mark.kafka
def test_profile_command_publishes_for_every_follower_of_the_registry(
    bootstrap: str, tmp_path: Path, cache: Path
) -> None:
    """A stub registered on a real cluster: its profile is in the registry, and a second call finds it there."""
    kafka = KafkaSettings(bootstrap=bootstrap, prefix="test-profile.", slots=1)
    topics.create(kafka)
    known = catalog()
    topic.publish(kafka, [*known.pools.values(), *known.models.values(), *known.variants.values()])

    def call() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable, "-m", "headrace", "profile", "--cores", "2", "--each", "0.2", "--json",
                "--set", f"kafka.bootstrap={bootstrap}", "--set", "kafka.prefix=test-profile.",
            ],
            cwd=tmp_path, env={"HEADRACE_CACHE_DIR": str(cache), "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    first, second = call(), call()

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    published = topic.read(kafka).profiles["tiny-stub", "cpu"]
    assert (published.source, published.lanes, published.machine) == ("profiler", 2, machine_kind())
    assert [p.batch for p in published.points] == [1, 2, 4, 8]
    assert len(msgspec.json.decode(first.stdout)["profiles"]) == 1
    assert msgspec.json.decode(second.stdout)["profiles"] == []
