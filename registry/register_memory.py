"""What was checked before: registering the same files again, as `headrace up` does each time, takes no second look.

The key is a digest of everything that went into the checks, down to the versions of the libraries; the files must
still be in the store. The folder is this user's own, as the store and the settings are.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from importlib import metadata
from pathlib import Path

import msgspec

from registry import dataset_folder
from registry.dataset import BadDataset
from registry.register import Registered, placed
from registry.registration import Registration
from streams.blobs import Store

KEPT_MAX = 1_000
CHECKS = 1  # counted up when a check is added or changed, so that all is looked at again
LIBRARIES = ("torch", "onnxruntime", "onnx", "numpy", "pillow", "headrace")

log = logging.getLogger(__name__)


class Memory:
    """A folder of results, one file a key; whoever can write to it can register here anyway."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str, store: Store) -> Registered | None:
        """What was found then, if the store still has all of it; None also for what cannot be read.

        Raises: StoreUnreachable.
        """
        if not key:
            return None
        try:
            made = msgspec.json.decode((self._folder / f"{key}.json").read_bytes(), type=Registered)
        except (OSError, msgspec.MsgspecError):
            return None
        model = made.model
        digests = [*(artifact.sha256 for artifact in model.artifacts.values()), *filter(None, [model.accuracy.dataset])]
        if not all(store.exists(f"sha256:{digest}") for digest in digests):
            return None
        artifacts = {framework: placed(artifact, store) for framework, artifact in model.artifacts.items()}
        return msgspec.structs.replace(made, model=msgspec.structs.replace(model, artifacts=artifacts))

    def put(self, key: str, made: Registered) -> None:
        """Keep it; a folder that cannot be written to costs time the next time, and nothing now."""
        if not key:
            return
        part = self._folder / f"{secrets.token_hex(8)}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(msgspec.json.encode(made))
            part.replace(self._folder / f"{key}.json")
            for old in sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT_MAX]:
                old.unlink(missing_ok=True)
        except OSError as failed:
            log.warning("checks not kept", extra={"error": str(failed)})


def key_of(registration: Registration, *, bytes_max: int) -> str:
    """A digest of all that the checks depend on: what was said, what is in the files, the code and the libraries.

    Empty, so that it is always looked at: with a factory, whose code is not in it, or if a file cannot be read.
    """
    paths = [Path(path) for path in (*registration.artifacts, registration.validation) if path]
    folder = [paths.pop()] if registration.validation and paths[-1].is_dir() else []
    try:
        if registration.factory or any(not path.is_file() or path.stat().st_size > bytes_max for path in paths):
            return ""
        files = [(path.suffix, _sha256(path)) for path in paths]
        files += [("", dataset_folder.digest(path, registration.labels)) for path in folder]
    except (OSError, BadDataset):
        return ""  # the check says what is wrong
    said = msgspec.structs.replace(registration, artifacts=(), validation="")
    parts = (CHECKS, [_version(name) for name in LIBRARIES], said, files)
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
