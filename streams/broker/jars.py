"""Which jars make up Kafka, where they are kept, and whether they are still what we pinned.

`jars.txt` beside this file pins each jar by sha256. A full check reads 45 MB, so its success is noted in a stamp of
sizes and modification times, and a start compares only those.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from streams.broker.errors import BrokenCache, DiskSpaceShort
from streams.folders import CACHE_ENV, cache_folder

KAFKA_VERSION = "4.3.0"
STAMP = "verified.json"
MIB = 1 << 20


class Jar(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `jars.txt`."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def intact(self, folder: Path) -> bool:
        """Whether `folder` holds exactly these bytes."""
        try:
            if (folder / self.name).stat().st_size != self.size:
                return False
            with (folder / self.name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except FileNotFoundError:
            return False


def pinned() -> tuple[Jar, ...]:
    """The jars that this version of the project runs."""
    return parse(Path(__file__).with_name("jars.txt").read_text(encoding="utf-8"))


def parse(text: str) -> tuple[Jar, ...]:
    """Read lines of `group:artifact:version sha256 size`; `#` starts a comment.

    Raises: AssertionError on a malformed line or two jars of one name: the file ships with the code.
    """
    jars = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        coordinate, sha256, size = line.split()
        assert len(sha256) == 64, line
        group, artifact, version = coordinate.split(":")
        jars.append(Jar(group=group, artifact=artifact, version=version, sha256=sha256, size=int(size)))
    assert len({jar.name for jar in jars}) == len(jars), "two jars of one name"
    return tuple(jars)


def cache_dir() -> Path:
    """This user's cache of this Kafka."""
    return cache_folder() / f"kafka-{KAFKA_VERSION}"


def stamped(jars: Iterable[Jar], folder: Path) -> bool:
    """Whether every jar has the size and time that it had when its bytes were last checked."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        return bool(stamp == _stamp(jars, folder))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # absent or torn: a full check decides
        return False


def write_stamp(jars: Iterable[Jar], folder: Path) -> None:
    """Note that every jar has just been checked; atomic, since other processes read it without a lock."""
    new = folder / f"{STAMP}.{os.getpid()}"
    new.write_text(json.dumps(_stamp(jars, folder)), encoding="utf-8")
    new.replace(folder / STAMP)


def broken(jars: Sequence[Jar], folder: Path) -> tuple[Jar, ...]:
    """The jars that are absent or differ from what was pinned, by a full read."""
    return tuple(jar for jar in jars if not jar.intact(folder))


def require_intact(jars: Sequence[Jar], folder: Path) -> None:
    """Raise unless every jar is what was pinned.

    Raises: BrokenCache with the names of the jars.
    """
    if bad := broken(jars, folder):
        names = ", ".join(jar.name for jar in bad)
        raise BrokenCache(
            f"{len(bad)} of {len(jars)} jars in {folder} differ from their sha256 also after fetching them again: "
            f"{names}. Remove that folder and check what the configured Maven repository serves."
        )


def require_space(folder: Path, *, bytes_min: int, purpose: str) -> None:
    """Raise unless the disk under `folder`, which need not exist yet, has room.

    Raises: DiskSpaceShort with the free space and the limit.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    stat = os.statvfs(there)
    free = stat.f_bavail * stat.f_frsize
    if free < bytes_min:
        raise DiskSpaceShort(
            f"{free // MIB} MiB free for {purpose} in {folder} < {bytes_min // MIB} MiB. "
            f"Free some space or name another folder ({CACHE_ENV} for the jars, --data or TMPDIR for the data)."
        )


def _stamp(jars: Iterable[Jar], folder: Path) -> dict[str, list[int]]:
    stats = {jar.name: (folder / jar.name).stat() for jar in jars}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}
