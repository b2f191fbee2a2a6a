"""Where an executor finds the file of an artifact: where the registrar had it, else in its cache, else in the store.

The cache is a folder that the executors of a machine share, with a bound. A file is in use while somebody holds a
shared lock on it, which the kernel takes back from whoever dies; only what is not in use is removed, that which was
not asked for longest first.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import stat
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from executors.backends.protocol import ArtifactBroken
from registry.records import Artifact
from registry.store import ArtifactSettings, open_artifacts
from streams.blobs import Store, name_of
from streams.errors import BadClaim, ClaimNotFound, ClaimTooLarge, StoreUnreachable, ValueCorrupt

log = logging.getLogger(__name__)

LOCK, PART = ".lock", ".part"
ABANDONED_S = 3_600.0  # after which a half-written file is nobody's
PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # before a store that did not answer is asked again
_CHUNK_BYTES = 1 << 20


class Held:
    """A file that stays in the cache until `close`. Safe to close twice."""

    def __init__(self, path: Path, number: int) -> None:
        self.path = path
        self._close = weakref.finalize(self, os.close, number)

    def close(self) -> None:
        self._close()

    def until(self, holder: object) -> None:
        """Hold it for as long as `holder` lives."""
        weakref.finalize(holder, self.close)


class Artifacts:
    """The files of this machine; every method may be called from any thread, and blocks."""

    def __init__(
        self, settings: ArtifactSettings, *, store: Store | None = None, pauses_s: tuple[float, ...] = PAUSES_S
    ) -> None:
        """Without a `store`, that of the settings, which is opened when it is first asked."""
        self._store = store
        self._settings = settings
        self._cache = settings.cache
        self._pauses_s = pauses_s

    def find(self, artifact: Artifact, name: str) -> Held:
        """The artifact's file, whose sha256 was compared just now. `name` is the variant's, for messages.

        Raises: ArtifactBroken if it is nowhere, or something else; StoreUnreachable if the store did not answer.
        """
        told = ""
        if artifact.path:
            local, told = opened(
                Path(artifact.path), artifact, size_max_bytes=self._settings.size_max_bytes, lock=False
            )
            if local is not None:
                return local
        try:
            place = self._cache / name_of(f"sha256:{artifact.sha256}")
            for pause_s in self._pauses_s:
                try:
                    return self._cached(place, artifact) or self._fetched(place, artifact)
                except StoreUnreachable as silent:
                    log.warning("artifact store silent", extra={"variant": name, "error": silent.message})
                    time.sleep(pause_s)
            return self._cached(place, artifact) or self._fetched(place, artifact)
        except OSError as failed:
            why = f"the cache cannot be used: {failed.filename or self._cache}: {failed.strerror or failed}"
            raise ArtifactBroken("; ".join(filter(None, (f"{name}: {told}", why)))) from failed
        except StoreUnreachable as silent:
            raise StoreUnreachable(f"{name}: {silent.message}") from silent
        except (BadClaim, ClaimNotFound, ClaimTooLarge, ValueCorrupt, ArtifactBroken) as broken:
            raise ArtifactBroken(f"{name}: {'; '.join(filter(None, (told, broken.message)))}") from broken

    def _cached(self, place: Path, artifact: Artifact) -> Held | None:
        """What stands in the cache, in use from now on; what stands there and is something else is removed."""
        if not place.exists():
            return None
        held, why = opened(place, artifact)
        if held is None:
            log.warning("a damaged file of the cache goes", extra={"path": str(place), "error": why})
            place.unlink(missing_ok=True)
        else:
            os.utime(place)  # its turn to go is last now
        return held

    def _fetched(self, place: Path, artifact: Artifact) -> Held:
        store = self._opened_store()
        bound, wanted = self._settings.cache_max_bytes, artifact.bytes
        place.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            if (there := self._cached(place, artifact)) is not None:
                return there  # another executor was quicker
            if (kept := self._make_room(wanted)) + wanted > bound:
                raise ArtifactBroken(f"its {wanted} bytes do not fit beside {kept} in use: cache_max_bytes = {bound}")
            most = min(self._settings.size_max_bytes, wanted or bound)
            store.get_file(f"sha256:{artifact.sha256}", place, size_max_bytes=most)
            held, why = opened(place, artifact)
            if held is None:
                raise ArtifactBroken(f"{why}, just after it was fetched")
            if not wanted:
                self._make_room(0)  # its size is known only now
            return held

    def _opened_store(self) -> Store:
        if self._store is None:
            named = self._settings.store_settings
            if named.bucket is None and not named.folder.is_dir():  # to read, a folder is not made
                raise ArtifactBroken(f"not in the cache, and there is no store at {named.folder} ([artifacts] url)")
            self._store = open_artifacts(self._settings)
        return self._store

    def _make_room(self, wanted: int) -> int:
        """Remove what was not used for longest until `wanted` bytes fit, if they can; returns the bytes kept."""
        found = sorted(self._kept())
        total = sum(size for _, size, _ in found)
        for _, size, path in found:
            if total + wanted <= self._settings.cache_max_bytes:
                break
            if _removed(path):
                total -= size
        return total

    def _kept(self) -> Iterator[tuple[float, int, Path]]:
        """Of every file of the cache when it was last used, and its size; what a crash left half-written goes."""
        for path in self._cache.glob("sha256/??/*"):
            with contextlib.suppress(FileNotFoundError):  # somebody tidies up beside us
                found = path.stat()
                if not path.name.endswith(PART):
                    yield found.st_mtime, found.st_size, path
                elif found.st_mtime < time.time() - ABANDONED_S:
                    path.unlink()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One at a time on this machine fetches and removes: nothing is fetched twice, and the sizes add up."""
        with (self._cache / LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def opened(
    path: Path, artifact: Artifact, *, size_max_bytes: int | None = None, lock: bool = True
) -> tuple[Held | None, str]:
    """The file, in use (with `lock`), if it is the registered one; else why not.

    The path may come from a record of the topic: a pipe, a device or a file without end is refused, not read.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return None, f"{path} cannot be read: {error.strerror}"
    held = Held(path, number)
    why = _why_not(number, path, artifact, size_max_bytes, lock)
    if not why:
        return held, ""
    held.close()
    return None, why


def _why_not(number: int, path: Path, artifact: Artifact, size_max_bytes: int | None, lock: bool) -> str:
    found = os.fstat(number)
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is no file"
    if size_max_bytes is not None and found.st_size > size_max_bytes:
        return f"{path} has {found.st_size} bytes > {size_max_bytes}, size_max_bytes in [artifacts]"
    if lock:
        fcntl.flock(number, fcntl.LOCK_SH)
        if not os.fstat(number).st_nlink:
            return f"{path} was removed just now"
    hashed = hashlib.sha256()
    while chunk := os.read(number, _CHUNK_BYTES):
        hashed.update(chunk)
    if hashed.hexdigest() != artifact.sha256:
        return f"sha256 of {path.name} is {hashed.hexdigest()}, registered is {artifact.sha256}"
    return ""


def _removed(path: Path) -> bool:
    """Remove a file of the cache unless somebody uses it."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(number)
    return True
