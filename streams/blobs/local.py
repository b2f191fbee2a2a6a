"""A store in a folder: of one machine, or one that several mount.

A value is written beside its place and moved there, so that a name never leads to half of it. What a crash of the
machine leaves all the same is found by its hash when it is read, and mended by the next `put`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from streams.blobs.store import CHUNK_BYTES, Kept, Pruned, check_size, name_of, verified
from streams.errors import ClaimNotFound, StoreUnreachable

PART = ".part"  # how the name of a file ends that is being written
HEX = frozenset("0123456789abcdef")


class LocalStore:
    """See `Store`."""

    def __init__(self, root: Path) -> None:
        """Raises: StoreUnreachable if the folder is not there and cannot be made."""
        self.root = root
        with self._spoken():
            root.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        with self._spoken(), written(self._place(digest)) as file:
            file.write(data)
        return digest

    def put_file(self, path: Path) -> str:
        hashed = hashlib.sha256()
        part = self.root / f"{secrets.token_hex(8)}{PART}"
        with path.open("rb") as source, self._spoken():
            try:
                with _created(part) as file:  # hashed as it is copied: what lands there is what was read
                    while chunk := source.read(CHUNK_BYTES):
                        hashed.update(chunk)
                        file.write(chunk)
                    _flush(file)
                digest = f"sha256:{hashed.hexdigest()}"
                part.replace(self._place(digest))
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        return digest

    def get(self, digest: str, *, size_max_bytes: int) -> bytes:
        with self._spoken(), self._opened(digest, size_max_bytes) as file:
            return b"".join(verified(_chunks(file), digest, size_max_bytes=size_max_bytes))

    def get_file(self, digest: str, path: Path, *, size_max_bytes: int | None = None) -> None:
        with self._spoken(), self._opened(digest, size_max_bytes) as file, written(path) as copy:
            for chunk in verified(_chunks(file), digest, size_max_bytes=size_max_bytes):
                copy.write(chunk)

    def exists(self, digest: str) -> bool:
        with self._spoken():
            return (self.root / name_of(digest)).is_file()

    def kept(self) -> Iterator[Kept]:
        with self._spoken():
            for path in self.root.glob("sha256/??/*"):
                if not _ours(path):
                    continue
                with contextlib.suppress(FileNotFoundError):  # removed as we look
                    found = path.stat()
                    yield Kept(f"sha256:{path.name}", found.st_size, found.st_mtime)

    def remove(self, digest: str) -> None:
        with self._spoken():
            (self.root / name_of(digest)).unlink(missing_ok=True)

    def prune(self, older_than_s: float) -> Pruned:
        before = time.time() - older_than_s
        count = size_bytes = 0
        with self._spoken():
            for path in [*self.root.glob(f"*{PART}"), *self.root.glob("sha256/??/*")]:
                if not (path.name.endswith(PART) or _ours(path)):
                    continue  # not ours
                with contextlib.suppress(FileNotFoundError):  # somebody prunes beside us
                    found = path.stat()
                    if found.st_mtime < before:
                        path.unlink()
                        count, size_bytes = count + 1, size_bytes + found.st_size
        return Pruned(count, size_bytes)

    def _place(self, digest: str) -> Path:
        path = self.root / name_of(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def _opened(self, digest: str, size_max_bytes: int | None) -> Iterator[BinaryIO]:
        # Not blocking: whoever may write here could leave a pipe under a digest, and hold up a thread for ever.
        try:
            number = os.open(self.root / name_of(digest), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as missing:
            if not self.root.is_dir():
                raise  # the folder is away, which says nothing about the value
            raise ClaimNotFound(f"{digest} is not in {self.root}: never put there, or no longer kept") from missing
        with os.fdopen(number, "rb") as file:
            found = os.fstat(number)
            if not stat.S_ISREG(found.st_mode):
                raise ClaimNotFound(f"{digest} is no file in {self.root}")
            check_size(digest, found.st_size, size_max_bytes)
            yield file

    @contextlib.contextmanager
    def _spoken(self) -> Iterator[None]:
        try:
            yield
        except OSError as failed:
            where = failed.filename or self.root
            raise StoreUnreachable(f"{where}: {failed.strerror or failed}") from failed


@contextlib.contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` when the block ends well, and else leaves nothing."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PART}")
    try:
        with _created(part) as file:
            yield file
            _flush(file)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _ours(path: Path) -> bool:
    return len(path.name) == 64 and HEX.issuperset(path.name)


def _created(path: Path) -> BinaryIO:
    # Not tempfile, which would hide it from the other users of a shared folder.
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb")


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())  # before the rename: else a crash may keep the name and lose the bytes


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
