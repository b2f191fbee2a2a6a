"""Bring the pinned jars into the cache: in parallel, checked, and safe against a second process doing the same."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from streams.broker.errors import BrokerError, FetchFailed, LocalExtraMissing
from streams.broker.jars import MIB, Jar, broken, require_intact, require_space, stamped, write_stamp

FETCH_ATTEMPTS = 3  # a dropped connection is common on a first start, and each jar is small
FETCH_PARALLEL = 8  # 46 jars one after another spend most of their time on round trips
HTTP_TIMEOUT_S = 30
LOCK_WAIT_S = 600  # as long as a slow line may need for 45 MB
SPACE_MIN_BYTES = 256 * MIB  # 45 MB of jars, a 65 MB class cache, and as much again while both are written

log = logging.getLogger(__name__)

Download = Callable[[Jar, Path, Callable[[int], None]], Path]


def ensure(jars: Sequence[Jar], folder: Path, *, download: Download | None = None) -> bool:
    """Make `folder` hold exactly these jars; a broken one is fetched again once.

    Returns: whether anything was fetched.
    Raises:  FetchFailed, BrokenCache, DiskSpaceShort, LocalExtraMissing.
    """
    if stamped(jars, folder):
        return False
    require_space(folder, bytes_min=SPACE_MIN_BYTES, purpose="Kafka's jars")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if stamped(jars, folder):  # another process did the work while we waited
            return False
        missing = broken(jars, folder)
        if missing:
            _fetch(missing, folder, download or jgo_download())
        require_intact(jars, folder)
        write_stamp(jars, folder)
    return bool(missing)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the cache's lock; the kernel drops it when its holder dies.

    Raises: BrokerError when another process holds it for longer than `LOCK_WAIT_S`.
    """
    deadline = time.monotonic() + LOCK_WAIT_S
    with (folder / ".lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BrokerError(f"another process held {folder}/.lock for over {LOCK_WAIT_S} s") from None
                time.sleep(0.1)
        yield


def jgo_download() -> Download:
    """A downloader over the user's own Maven configuration, as jgo reads it.

    Each jar is asked for alone: jgo's transitive resolution of Kafka picks kafka-clients 3.8, and that broker dies
    with NoSuchMethodError.
    """
    try:
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as missing:
        raise LocalExtraMissing('the local broker needs jgo: pip install "headrace[local]"') from missing

    def download(jar: Jar, into: Path, advance: Callable[[int], None]) -> Path:
        @contextlib.contextmanager
        def progress(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
            yield advance

        maven = MavenContext(
            repo_cache=into, timeout=HTTP_TIMEOUT_S, resolver=PythonResolver(progress_callback=progress)
        )
        return maven.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()

    return download


def _fetch(jars: Sequence[Jar], folder: Path, download: Download) -> None:
    total = sum(jar.size for jar in jars)
    log.info("fetching %d jars, %d MB, once, into %s", len(jars), total // 1_000_000, folder)
    with (
        tempfile.TemporaryDirectory(prefix="fetch-", dir=folder) as scratch,
        ThreadPoolExecutor(FETCH_PARALLEL) as pool,
        _progress(total) as advance,
    ):
        tasks = [pool.submit(_fetch_one, jar, folder, Path(scratch), download, advance) for jar in jars]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch_one(jar: Jar, folder: Path, scratch: Path, download: Download, advance: Callable[[int], None]) -> None:
    """Download beside the cache, then move into place: whoever looks sees a whole jar or none."""
    for attempt in range(FETCH_ATTEMPTS):
        into = scratch / f"{jar.name}.{attempt}"
        into.mkdir()
        try:
            path = download(jar, into, advance)
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors, jgo's own a RuntimeError
            if attempt + 1 == FETCH_ATTEMPTS:
                raise FetchFailed(
                    f"could not fetch {jar.name} in {FETCH_ATTEMPTS} attempts ({type(error).__name__}). "
                    f"The first start needs a network or a Maven mirror; or copy {folder} from a machine that has it."
                ) from error
            time.sleep(0.5 * 2**attempt)
        else:
            Path(path).replace(folder / jar.name)
            return


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("Fetching Kafka, once"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("jars", total=total)
        yield lambda count: bar.advance(task, count)
