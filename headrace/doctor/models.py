"""The models: registered, present on this machine, and the files that were registered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from headrace.doctor.finding import Finding
from headrace.settings import Settings
from registry import manifest, topic
from registry.catalog import Catalog
from registry.records import Artifact
from registry.store import ArtifactSettings, open_artifacts
from streams.settings import KafkaSettings


def registered(kafka: KafkaSettings, settings: ArtifactSettings) -> Iterator[Finding]:
    """Every registered artifact against the file here, else against the store: what an executor here would load."""
    catalog = topic.read(kafka)
    if not catalog.models:
        yield Finding("warn", "models", "none is registered", "headrace register MODEL, or headrace up")
        return
    wrong = [line for model in catalog.models.values() for line in _wrong(model.name, model.artifacts, settings)]
    for line in wrong:
        yield Finding("warn", "models", line, "an executor here cannot run it; build or copy it, then register again")
    if not wrong:
        yield Finding("ok", "models", f"{len(catalog.models)} registered, every file here or in the store")
    yield from _profiles(catalog)


def built(settings: Settings) -> Iterator[Finding]:
    """The folder that `headrace up` would register, where no cluster can be asked."""
    from examples.store import default_out

    folder = settings.up.models or default_out()
    if not any(folder.glob(f"*/{manifest.MANIFEST}")):
        yield Finding("warn", "models", f"none in {folder}", "python -m examples.build")
        return
    records = manifest.read(folder)
    yield Finding("ok", "models", f"{len(records)} records in {folder}, every file as its manifest says")


def _profiles(catalog: Catalog) -> Iterator[Finding]:
    offered = {offer.variant for offer in catalog.offers()}
    missing = sorted(set(catalog.variants) - offered)
    if missing:
        told = f"{len(missing)} of {len(catalog.variants)} variants have no profile yet: {', '.join(missing[:3])}"
        yield Finding("warn", "profiles", told, "an executor measures what it can run when it starts")
    else:
        yield Finding("ok", "profiles", f"all {len(catalog.variants)} variants are measured")


def _wrong(model: str, artifacts: dict[str, Artifact], settings: ArtifactSettings) -> Iterator[str]:
    for framework, artifact in artifacts.items():
        if framework == "stub":
            continue
        why = _here(artifact)
        if why and not _kept(artifact, settings):
            yield f"{model} for {framework}: {why}, and not in the store {settings.url}"


def _here(artifact: Artifact) -> str:
    """Why the registrar's own file cannot be used; empty if it can."""
    path = Path(artifact.path)
    if not path.is_file():
        return f"{artifact.path or 'its file'} is not here"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if digest == artifact.sha256 else f"{path} has sha256 {digest[:12]}, registered is {artifact.sha256[:12]}"


def _kept(artifact: Artifact, settings: ArtifactSettings) -> bool:
    """Whether the store has something under that digest; what is in it, an executor sees when it fetches."""
    named = settings.store_settings
    if named.bucket is None and not named.folder.is_dir():
        return False
    return open_artifacts(settings).exists(f"sha256:{artifact.sha256}")
