"""Which files of the artifact store are named by something registered, and which by nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from registry.catalog import Catalog
from streams.blobs import Kept


class File(NamedTuple):
    """A file of the store, and what names it: models with their versions, variants, validation sets."""

    kept: Kept
    named_by: tuple[str, ...]


def named(catalog: Catalog) -> dict[str, list[str]]:
    """Digests, `sha256:` and 64 hex digits, and what names each: every version counts, retired ones too."""
    found: dict[str, list[str]] = {}
    for sha256, by in _names(catalog):
        if sha256:
            found.setdefault(f"sha256:{sha256}", []).append(by)
    return found


def files(kept: Iterable[Kept], catalog: Catalog) -> list[File]:
    """Every file of the store, those that nothing names first, the oldest first."""
    names = named(catalog)
    found = [File(each, tuple(sorted(set(names.get(each.digest, ()))))) for each in kept]
    return sorted(found, key=lambda file: (bool(file.named_by), file.kept.put_s, file.kept.digest))


def _names(catalog: Catalog) -> Iterator[tuple[str, str]]:
    for name in list(catalog.models):
        for version, model in catalog.versions.of(name).items():
            for artifact in model.artifacts.values():
                yield artifact.sha256, f"{name} {version}"
            yield model.accuracy.dataset, f"validation set of {name} {version}"
    for variant in list(catalog.variants.values()):
        if variant.artifact is not None:
            yield variant.artifact.sha256, variant.name
        if variant.accuracy is not None:
            yield variant.accuracy.dataset, f"validation set of {variant.model} {variant.version}".rstrip()
