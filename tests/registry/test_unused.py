"""Which files of a store are still named by something."""

from __future__ import annotations

import msgspec

from registry.catalog import Catalog
from registry.records import Accuracy, Artifact
from registry.unused import files, named
from streams.blobs import Kept
from tests.executors.models import model, variant

A, B, C, D, E, F = (character * 64 for character in "abcdef")


def catalog() -> Catalog:
    """Two versions of one model, and a variant with a file and a measurement of its own."""
    made = Catalog()
    for version, artifact, dataset in (("1", A, B), ("2", C, B)):
        accuracy = Accuracy(value=0.9, provenance="measured", n=10, dataset=dataset)
        files_of = {"onnxruntime": Artifact(path="/gone", sha256=artifact)}
        made.add(model(version=version, accuracy=accuracy, artifacts=files_of))
    own = Accuracy(value=0.8, provenance="measured", n=9, dataset=E)
    made.add(variant("onnxruntime", artifact=Artifact(path="", sha256=D), accuracy=own))
    return made


def test_named_has_every_version_its_variants_and_their_sets() -> None:
    """A version that another took the place of can be gone back to."""
    names = named(catalog())

    assert set(names) == {f"sha256:{digest}" for digest in (A, B, C, D, E)}
    assert names[f"sha256:{A}"] == ["tiny 1"]
    assert sorted(names[f"sha256:{B}"]) == ["validation set of tiny 1", "validation set of tiny 2"]
    assert names[f"sha256:{D}"] == ["tiny-onnxruntime"]


def test_files_that_nothing_names_come_first_by_age() -> None:
    """And a record that is deleted names nothing."""
    kept = [Kept(f"sha256:{digest}", 1, put) for digest, put in ((A, 1.0), (F, 9.0), (D, 5.0))]
    known = catalog()
    before = [(file.kept.digest[-1], file.named_by) for file in files(kept, known)]
    known.apply("variant:tiny-onnxruntime", None)
    after = [(file.kept.digest[-1], bool(file.named_by)) for file in files(kept, known)]

    assert before == [("f", ()), ("a", ("tiny 1",)), ("d", ("tiny-onnxruntime",))]
    assert after == [("d", False), ("f", False), ("a", True)]


def test_named_by_a_model_without_a_set_is_only_its_files() -> None:
    """An empty digest is no file."""
    made = Catalog()
    made.add(msgspec.structs.replace(model(), artifacts={"torch": Artifact(path="", sha256=A)}))

    assert list(named(made)) == [f"sha256:{A}"]
