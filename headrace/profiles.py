"""Profiles measured on this machine, kept in the user's cache, so that a fresh registry need not wait for them."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import msgspec

from registry.catalog import Catalog
from registry.records import Profile, Record
from streams.folders import cache_folder

log = logging.getLogger(__name__)

FILE = "profiles.json"
DISTRIBUTIONS = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}  # which of them is installed makes no difference
NO_LIBRARIES = {"stub", "provider", "cuda"}  # come with the others, or are no versions at all


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A profile, and the version of the model that it was measured with."""

    model_version: str
    profile: Profile


def remembered(records: Iterable[Record]) -> list[Profile]:
    """Profiles of these variants that still hold, see `held`."""
    catalog = Catalog()
    for record in records:
        catalog.add(record)
    return held(catalog)


def held(catalog: Catalog) -> list[Profile]:
    """Kept profiles of the catalogue's variants: same machine, file, Python and libraries.

    A profile that does not say of which file it is holds for its version of the model alone.
    """
    from executors.hardware import machine_kind
    from executors.profiling_plan import Item, artifact_of

    items = {
        variant.name: Item(variant=variant, model=model)
        for variant in catalog.variants.values()
        if (model := catalog.versions.model_of(variant)) is not None
    }
    machine = machine_kind()
    return [
        kept.profile
        for kept in _read()
        if kept.profile.machine == machine
        and (item := items.get(kept.profile.variant)) is not None
        and _same(kept, item.model.version, artifact_of(item))
        and current(kept.profile.versions)
    ]


def remember(catalog: Catalog) -> int:
    """Keep every profile of the catalogue that was measured on a machine like this; returns how many are new.

    An executor's quick look never takes the place of what the profiler found of the same file.
    A cache that cannot be written is logged and no more: the next start measures again.
    """
    from executors.hardware import machine_kind

    machine = machine_kind()
    kept = {(each.profile.variant, each.profile.pool): each for each in _read()}
    fresh = {
        key: each
        for each in _measured(catalog)
        if each.profile.machine == machine
        and not _better(kept.get(key := (each.profile.variant, each.profile.pool)), each)
    }
    new = sum(kept.get(key) != each for key, each in fresh.items())
    if new:
        try:
            _write([*(kept | fresh).values()])
        except OSError as denied:
            log.warning("profiles not kept", extra={"file": str(_file()), "error": str(denied)})
    return new


def current(versions: Mapping[str, str]) -> bool:
    """Whether these are the versions of Python and of the libraries here."""
    return all(_installed(name, version) for name, version in versions.items())


def _better(old: Kept | None, new: Kept) -> bool:
    return (
        old is not None
        and (old.profile.source, new.profile.source) == ("profiler", "executor")
        and _same(old, new.model_version, new.profile.artifact)
        and old.profile.machine == new.profile.machine
        and current(old.profile.versions)
    )


def _same(kept: Kept, model_version: str, artifact: str) -> bool:
    """Whether it is of this file: one file can be registered as more than one version, and is as fast in each."""
    if kept.profile.artifact and artifact:
        return kept.profile.artifact == artifact
    return kept.model_version == model_version


def _measured(catalog: Catalog) -> Iterator[Kept]:
    for profile in catalog.profiles.values():
        variant = catalog.variants.get(profile.variant)
        model = catalog.versions.model_of(variant) if variant else None
        if model is not None:
            yield Kept(model_version=model.version, profile=profile)


def _installed(name: str, version: str) -> bool:
    if name in NO_LIBRARIES:
        return True
    if name == "python":
        return version == platform.python_version()
    for distribution in DISTRIBUTIONS.get(name, (name,)):
        try:
            here = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
        return here.partition("+")[0] == version.partition("+")[0]  # 2.15.0+cpu is 2.15.0
    return False


def _read() -> list[Kept]:
    try:
        return msgspec.json.decode(_file().read_bytes(), type=list[Kept])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError) as broken:
        log.warning("kept profiles ignored", extra={"file": str(_file()), "error": str(broken)})
        return []


def _write(kept: list[Kept]) -> None:
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
    fresh.replace(file)


def _file() -> Path:
    """Beside the models and the broker's jars."""
    return cache_folder() / FILE
