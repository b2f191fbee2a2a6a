"""The folder of models: only what is whole, described and of this version counts as built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples import store
from registry.records import Accuracy, Model, Step

NAMES = ("small", "large")


def record(name: str, *, version: str = "1") -> Model:
    return Model(
        name=name,
        task="t",
        version=version,
        accuracy=Accuracy(value=0.9, provenance="measured", n=10),
        input_name="x",
        input_shape=(2,),
        input_dtype="float32",
        output_name="y",
        preprocess=Step(name="tensor"),
        postprocess=Step(name="top-k", params={"k": 1}),
    )


class Maker:
    """Stages two short files a model, and remembers what it was asked for."""

    def __init__(self, *, version: str = "1", fail_at: str = "") -> None:
        self.version, self.fail_at = version, fail_at
        self.made: list[str] = []

    def __call__(self, missing: list[str], staged: Path) -> Iterator[Model]:
        for name in missing:
            for file in store.FILES.values():
                (staged / file).write_text(f"{name} {file} {self.version}")
            if name == self.fail_at:
                raise RuntimeError(name)
            self.made.append(name)
            yield record(name, version=self.version)


def complete(out: Path, maker: Maker) -> list[store.ModelArtifact]:
    return store.complete(out, NAMES, version=maker.version, make=maker)


def test_complete_in_an_empty_folder_makes_all_in_order(tmp_path: Path) -> None:
    """Files, digests and absolute paths are all there, and nothing is left of the staging."""
    built = complete(tmp_path / "new", Maker())

    assert [artifact.model.name for artifact in built] == list(NAMES)
    for artifact in built:
        assert sorted(file.name for file in artifact.folder.iterdir()) == [
            "model.json",
            "model.onnx",
            "model.pt2",
        ]
        for file in artifact.model.artifacts.values():
            assert Path(file.path).is_absolute()
            assert store.sha256(Path(file.path)) == file.sha256
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [".lock", *sorted(NAMES)]


def test_complete_again_makes_nothing(tmp_path: Path) -> None:
    """What is there and of this version is kept, and answered in the same words."""
    first, again = complete(tmp_path, Maker()), Maker()

    assert complete(tmp_path, again) == first
    assert again.made == []


@pytest.mark.parametrize("file", ["model.json", "model.onnx", "model.pt2"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_complete_after_damage_makes_that_model_again(tmp_path: Path, file: str, damage: str) -> None:
    """A file that is cut short or gone costs its own model, and only that one."""
    complete(tmp_path, Maker())
    hurt = tmp_path / "large" / file
    if damage == "gone":
        hurt.unlink()
    else:
        hurt.write_bytes(hurt.read_bytes()[:5])
    again = Maker()
    complete(tmp_path, again)

    assert again.made == ["large"]


def test_complete_of_another_version_makes_all(tmp_path: Path) -> None:
    """A changed recipe replaces what the old one made."""
    complete(tmp_path, Maker())
    newer = Maker(version="2")
    built = complete(tmp_path, newer)

    assert newer.made == list(NAMES)
    assert {artifact.model.version for artifact in built} == {"2"}


def test_complete_after_a_failure_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """The model before the failure stays; the one that failed left neither manifest nor staged files."""
    with pytest.raises(RuntimeError, match="large"):
        complete(tmp_path, Maker(fail_at="large"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "small"]
    again = Maker()
    complete(tmp_path, again)

    assert again.made == ["large"]


def test_find_after_the_folder_was_moved_still_finds(tmp_path: Path) -> None:
    """Paths in a manifest are relative, so that a folder of models can be copied to another machine."""
    complete(tmp_path / "a", Maker())
    (tmp_path / "a").rename(tmp_path / "b")
    found = store.find(tmp_path / "b", "small", version="1")

    assert found is not None
    assert found.model.artifacts["torch"].path == str(tmp_path / "b" / "small" / "model.pt2")


def test_recipe_version_changes_with_source_and_library(tmp_path: Path) -> None:
    """Equal inputs give equal versions; a byte of source or another library gives another."""
    source = tmp_path / "recipe.py"
    source.write_text("rate = 1")
    first = store.recipe_version({"recipe": source}, ("msgspec",))
    same = store.recipe_version({"recipe": source}, ("msgspec",))
    library = store.recipe_version({"recipe": source}, ("msgspec", "no-such-library"))
    source.write_text("rate = 2")
    changed = store.recipe_version({"recipe": source}, ("msgspec",))

    assert first == same
    assert len({first, library, changed}) == 3


def test_default_out_follows_the_cache_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own variable wins over the XDG one, which wins over the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HEADRACE_CACHE_DIR", raising=False)
    home = store.default_out()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    xdg = store.default_out()
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path / "own"))

    assert home == tmp_path / ".cache/headrace/models"
    assert xdg == tmp_path / "xdg/headrace/models"
    assert store.default_out() == tmp_path / "own/models"
