"""Models that are registered: their files and validation sets here for generation, converted copies into the store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from executors.artifacts import Artifacts
from executors.backends.protocol import ArtifactBroken
from registry.records import Artifact, Model, Variant
from registry.register import placed
from registry.store import ArtifactSettings, open_artifacts


@contextlib.contextmanager
def at_hand(model: Model, settings: ArtifactSettings) -> Iterator[tuple[Model, Path | None]]:
    """The model with paths of files here, held meanwhile, and its validation set, if the store has it.

    Raises: ArtifactBroken if a file is nowhere; StoreUnreachable.
    """
    artifacts = Artifacts(settings)
    with contextlib.ExitStack() as stack:
        here = {}
        for framework, artifact in model.artifacts.items():
            held = artifacts.find(artifact, model.name)
            stack.callback(held.close)
            here[framework] = msgspec.structs.replace(artifact, path=str(held.path))
        validation = None
        if model.accuracy.dataset:
            try:
                kept = artifacts.find(
                    Artifact(path="", sha256=model.accuracy.dataset), f"validation set of {model.name}"
                )
            except ArtifactBroken:
                kept = None  # an older registrar kept none; then there are no labels
            if kept is not None:
                stack.callback(kept.close)
                validation = kept.path
        yield msgspec.structs.replace(model, artifacts=here), validation


def stored(variants: Iterable[Variant], settings: ArtifactSettings) -> list[Variant]:
    """The variants with their own files in the store, from where every executor has them.

    Raises: StoreUnreachable.
    """
    store = open_artifacts(settings)
    made = []
    for variant in variants:
        if variant.artifact is not None:
            digest = store.put_file(Path(variant.artifact.path))
            assert digest == f"sha256:{variant.artifact.sha256}", f"{digest} was put, not {variant.artifact.sha256}"
            variant = msgspec.structs.replace(variant, artifact=placed(variant.artifact, store))
        made.append(variant)
    return made
