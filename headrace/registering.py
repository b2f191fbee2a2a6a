"""Registering a model: check it here, put its files into the store, publish its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from executors.finishing import finish
from executors.processing import prepare
from headrace.labelled import preparing
from headrace.options import kafka_of
from headrace.pools import pools
from headrace.settings import Loaded, load
from registry import register as checks
from registry import registration, topic
from registry.confined import Limits
from registry.inspection import Array
from registry.lifecycle_shell import admitted
from registry.manifest import BadManifest
from registry.records import Model, Record
from registry.register import Registered, VersionTaken
from registry.register_memory import Memory, key_of
from registry.registration import Registration
from registry.store import ArtifactSettings, open_artifacts
from streams.blobs import Store
from streams.errors import ModelFailed
from streams.folders import cache_folder
from streams.settings import KafkaSettings

Progress = Callable[[str], None]


def register(
    model: str | Path | Registration | None = None,
    /,
    *,
    loaded: Loaded | None = None,
    publish: bool = True,
    progress: Progress = lambda _what: None,
    **described: Any,
) -> Registered:
    """Register a `model.toml`, or what the arguments say: name, task, artifacts, validation and so on, as in the file.

        headrace.register("model.toml")
        headrace.register(name="digits-cnn", task="digit-classification", artifacts=["model.onnx"], validation="d.npz")

    Paths count from the file's folder, else from the working directory. `publish=False` only checks. Settings are
    those of `headrace.toml` and the environment, unless `loaded` brings others.
    Returns: the records, with the accuracy that was measured.
    Raises:  BadManifest, BadArtifact, UnsafeArtifact, BadDataset, BadSettings, VersionTaken: change what they name;
             CheckFailed, StoreUnreachable, Unreachable.
    """
    own = _described(model, described)
    loaded = loaded or load()
    if not publish:
        return _checked(own, None, loaded.settings.artifacts, {}, progress)
    (made,) = register_all([own], loaded=loaded, kafka=kafka_of(loaded), progress=progress)
    return made


def register_all(
    models: Sequence[Registration],
    *,
    loaded: Loaded,
    kafka: KafkaSettings,
    at_once: int = 1,
    progress: Progress = lambda _what: None,
) -> list[Registered]:
    """Register several models: each is checked, so many at once, and all are published together, or none.

    Raises: as `register`; KeyboardInterrupt waits for the checks that have begun.
    """
    settings = loaded.settings.artifacts
    catalog, store, memory = topic.read(kafka), open_artifacts(settings), Memory(cache_folder() / "checked")

    def one(own: Registration) -> Registered:
        known, key = catalog.versions.of(own.name), key_of(own, bytes_max=settings.size_max_bytes)
        made = memory.get(key, store)
        if made is None:
            made = _checked(own, store, settings, known, progress)
            memory.put(key, made)
        else:
            checks.check_version(made.model, known)
        return made

    pool = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="register")
    try:
        every = list(pool.map(one, models))
    finally:
        pool.shutdown(cancel_futures=True)
    progress("publishing")
    records: list[Record] = [record for record in pools(kafka) if record.name not in catalog.pools]
    for own, made in zip(models, every, strict=True):
        if made.task.name not in catalog.tasks or own.accepts or own.slo_ms_default is not None:
            records.append(made.task)  # else it keeps what its own operator said of it
    there = {variant.name: variant.version for variant in catalog.variants.values()}
    for made in every:
        # What stands there of this version may have been generated, and know more than these.
        records += [made.model, *(variant for variant in made.variants if there.get(variant.name) != variant.version)]
    topic.publish(kafka, admitted(catalog, records))
    now = topic.read(kafka).versions
    for made in every:
        if now.of(made.model.name).get(made.model.version) != made.model:
            raise VersionTaken(
                f"{made.model.name} {made.model.version} was registered by someone else at the same moment"
            )
    return every


def _checked(
    own: Registration, store: Store | None, settings: ArtifactSettings, known: Mapping[str, Model], progress: Progress
) -> Registered:
    return checks.register(
        own, store, steps=try_steps, prepares=preparing, known=known, bytes_max=settings.size_max_bytes,
        progress=progress,
        limits=Limits(
            time_s=settings.check_s, memory_bytes=settings.check_memory_bytes, file_bytes=settings.size_max_bytes
        ),
    )  # fmt: skip


def try_steps(model: Model, answers: Array) -> None:
    """The steps before and after, as an executor would make them, on some answers.

    Raises: BadSettings on an unknown step or parameter; ModelFailed if the answers do not fit.
    """
    prepare(model.preprocess, model)
    for value in finish(model.postprocess, model)(answers, [str(item) for item in range(len(answers))]):
        if isinstance(value, ModelFailed):
            raise value


def _described(model: str | Path | Registration | None, described: dict[str, Any]) -> Registration:
    if isinstance(model, str | Path):
        if described:
            raise BadManifest(f"{model} and {', '.join(described)}: say it in the file, or without one")
        return registration.read(Path(model))
    if model is None:
        try:
            model = msgspec.convert(_plain(described), Registration)
        except msgspec.ValidationError as bad:  # msgspec names the field, as `$.labels`
            raise BadManifest(str(bad)) from bad
    return registration.checked(model, Path.cwd(), "register")


def _plain(value: Any) -> Any:
    """With paths as text, wherever they stand."""
    match value:
        case Path():
            return str(value)
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
    return value
