"""What is known already, by content: an entry's name is the digest of everything that it depends on.

Entries are written as they are found out, by the child too, and whole or not at all: a kill at any time loses only
what was under way.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from registry.records import Artifact

RECIPE = 1  # counts up with every change of how variants are converted or compared

T = TypeVar("T")


def key(**parts: Any) -> str:
    """One part differs, and it is another entry."""
    return hashlib.sha256(json.dumps({"recipe": RECIPE, **parts}, sort_keys=True).encode()).hexdigest()


class Ledger:
    """A folder: `known/<key>.json`, and converted models as `artifacts/<sha256>.<format>`."""

    def __init__(self, folder: Path) -> None:
        self._known = folder / "known"
        self._artifacts = folder / "artifacts"
        for each in (self._known, self._artifacts):
            each.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, kind: type[T]) -> T | None:
        """None if it is not known, or not readable: it is then found out again."""
        try:
            return msgspec.json.decode((self._known / f"{name}.json").read_bytes(), type=kind)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def put(self, name: str, value: Any) -> None:
        target = self._known / f"{name}.json"
        part = target.with_suffix(f".{os.getpid()}")
        part.write_bytes(msgspec.json.encode(value))
        part.replace(target)

    def adopt(self, file: Path, artifact_format: str) -> Artifact:
        """Move a finished file in, under the name of its content."""
        with file.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        name = f"{sha256}.{artifact_format}"
        size = file.stat().st_size
        file.replace(self._artifacts / name)
        return Artifact(path=name, sha256=sha256, bytes=size, format=artifact_format)

    def located(self, artifact: Artifact) -> Artifact:
        """The artifact of an entry with the path that it has here: folders move."""
        return msgspec.structs.replace(artifact, path=str(self._artifacts.resolve() / artifact.path))

    def artifact(self, name: str) -> Artifact | None:
        """A conversion that is known, and whose file is still there as it was. Its path is relative, see `located`."""
        artifact = self.get(name, Artifact)
        if artifact is None:
            return None
        return artifact if whole(self._artifacts / artifact.path, artifact.sha256) else None


def whole(file: Path, sha256: str) -> bool:
    """Whether the file is there, with this content."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == sha256
    except OSError:
        return False
