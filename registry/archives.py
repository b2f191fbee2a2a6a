"""What stands in a `.pt2`, before any of it is loaded: only members and contents that cannot run code by themselves.

`torch.export.load` of torch 2.15 unpickles example inputs, constants and weights that are marked so (falling back to
the unrestricted unpickler), the whole of an archive in the layout before 2.8, and opens the shared libraries of
AOTInductor. What stands in the program's graph has a module of its own, `registry/programs.py`.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry import programs
from registry.programs import UnsafeArtifact
from streams.errors import ClientFault

BYTES_MAX = 4_000_000_000
JSON_BYTES_MAX = 64 << 20  # of a graph or a table of weights; a real one has ~200 bytes a weight
MEMBERS_MAX = 200_000
EXPORT = "export it from source with torch.export.export and torch.export.save"
_DATE = (1980, 1, 1, 0, 0, 0)  # the same content is the same file
_CHUNK_BYTES = 1 << 20

_PLAIN = re.compile(
    r"archive_format|archive_version|version|byteorder|\.data/version|\.data/serialization_id"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
)
_PLAIN_NAME = re.compile(r"(weight|tensor)_\d+")
_GRAPH = re.compile(r"models/model\.json")
_TABLE = re.compile(r"data/(weights|constants)/model_\1_config\.json")
_SAMPLES = re.compile(r"data/sample_inputs/model\.pt")
_REASONS = (
    (re.compile(r"data/aotinductor/"), "is compiled code of AOTInductor, which loading would run"),
    (re.compile(r"serialized_.*"), "is of the layout before torch 2.8, which is unpickled"),
    (re.compile(r"data/constants/(custom|opaque)_obj_"), "is an object that would be unpickled"),
    (re.compile(r".*\.(pt|pkl|pickle)$"), "would be unpickled"),
)


class BadArtifact(ClientFault):
    """An artifact cannot be registered as it is; the message says what to change."""

    code = "bad_artifact"


def check_program(path: Path, *, bytes_max: int = BYTES_MAX) -> bool:
    """Refuse an exported program whose loading could run code of whoever made it.

    Returns: whether it may be loaded as it is; False: it carries example inputs, a pickle that `stripped` leaves out.
    Raises:  UnsafeArtifact, BadArtifact.
    """
    clean = True
    with opened(path, bytes_max=bytes_max) as archive:
        root, seen = _root(archive, path.name), set()
        for name in archive.namelist():
            member = name.removeprefix(root)
            seen.add(member)
            if _SAMPLES.fullmatch(member):
                clean = clean and not archive.getinfo(name).file_size
            elif _GRAPH.fullmatch(member):
                programs.check(_json(archive, name, path.name), path.name)
            elif _TABLE.fullmatch(member):
                _check_table(_json(archive, name, path.name), member, path.name)
            elif not _PLAIN.fullmatch(member):
                why = next((why for pattern, why in _REASONS if pattern.match(member)), "is not known to be harmless")
                raise UnsafeArtifact(f"{path.name}: {member!r} {why}; {EXPORT}")
        if "models/model.json" not in seen or "archive_format" not in seen:
            raise BadArtifact(f"{path.name} is a zip but no exported program of torch 2.8 or later; {EXPORT}")
    return clean


def samples(path: Path, *, bytes_max: int = BYTES_MAX) -> bytes:
    """The example inputs of a checked program, a pickle; empty if it carries none.

    Raises: BadArtifact.
    """
    with opened(path, bytes_max=bytes_max) as archive:
        root = _root(archive, path.name)
        return b"".join(archive.read(name) for name in archive.namelist() if _SAMPLES.fullmatch(name[len(root) :]))


def stripped(source: Path, target: Path, *, bytes_max: int = BYTES_MAX) -> None:
    """A copy of a checked program without its example inputs; the same content gives the same file."""
    with opened(source, bytes_max=bytes_max) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as copy:
        for found in archive.infolist():
            kept = zipfile.ZipInfo(found.filename, date_time=_DATE)
            with copy.open(kept, "w", force_zip64=found.file_size > 1 << 30) as writer:
                if not found.filename.endswith("data/sample_inputs/model.pt"):
                    with archive.open(found) as reader:
                        while chunk := reader.read(_CHUNK_BYTES):
                            writer.write(chunk)


@contextmanager
def opened(path: Path, *, bytes_max: int, packed: bool = False) -> Iterator[zipfile.ZipFile]:
    """A zip archive whose members are what every reader of zip takes them for, and together no larger than allowed.

    `packed` lets members be compressed; what they unpack to counts.

    Raises: BadArtifact, also for what goes wrong in reading it within the block.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = archive.infolist()
            names = [member.filename.lower() for member in found]  # torch's reader finds members by any case
            if len(set(names)) != len(names) or len(names) > MEMBERS_MAX:
                raise UnsafeArtifact(f"{path.name}: two members have one name, or there are more than {MEMBERS_MAX}")
            small = [member.filename for member in found if member.compress_type != zipfile.ZIP_STORED]
            if small and not packed:
                raise BadArtifact(f"{path.name}: {small[:3]} are compressed; torch saves them as they are")
            total = sum(member.file_size for member in found)
            if total > bytes_max:
                raise BadArtifact(f"{path.name} claims {total} bytes > {bytes_max}")
            if archive.comment or not any(member.header_offset == 0 for member in found):
                raise UnsafeArtifact(f"{path.name}: something stands before or after the archive")
            yield archive
    except OSError as failed:
        raise BadArtifact(f"{path.name} cannot be read: {failed.strerror or failed}") from failed
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as broken:
        raise BadArtifact(f"{path.name} is no archive of torch's, or is damaged: {broken}") from broken


def _root(archive: zipfile.ZipFile, artifact: str) -> str:
    """The folder in the archive that everything stands in, with its slash."""
    roots = {name.partition("/")[0] for name in archive.namelist()}
    if len(roots) != 1 or not all("/" in name for name in archive.namelist()):
        if any(name.startswith("serialized_") for name in archive.namelist()):
            raise UnsafeArtifact(f"{artifact} has the layout before torch 2.8, which is unpickled; {EXPORT}")
        raise BadArtifact(f"{artifact} has {sorted(roots)[:4]} at its top, not one folder; {EXPORT}")
    return f"{roots.pop()}/"


def _json(archive: zipfile.ZipFile, name: str, artifact: str) -> object:
    size_bytes = archive.getinfo(name).file_size
    if size_bytes > JSON_BYTES_MAX:
        raise BadArtifact(f"{artifact}: {name} has {size_bytes} bytes > {JSON_BYTES_MAX}")
    try:
        return json.loads(archive.read(name).decode("utf-8"))  # as torch reads it
    except (ValueError, RecursionError) as bad:
        raise BadArtifact(f"{artifact}: {name} is no JSON: {type(bad).__name__}") from bad


def _check_table(table: object, member: str, artifact: str) -> None:
    try:
        rows = table["config"]  # type: ignore[index]
        pickled = [key for key, row in rows.items() if row.get("use_pickle")]
        elsewhere = [key for key, row in rows.items() if not _PLAIN_NAME.fullmatch(row["path_name"])]
    except (KeyError, AttributeError, TypeError) as bad:
        raise BadArtifact(f"{artifact}: {member} is not a table of tensors: {bad!r}") from bad
    if pickled:
        raise UnsafeArtifact(f"{artifact}: {pickled[:3]} would be unpickled; save plain tensors, and {EXPORT}")
    if elsewhere:
        raise UnsafeArtifact(f"{artifact}: {elsewhere[:3]} are kept under names that torch does not give")
