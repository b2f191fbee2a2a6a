"""An artifact's file: from the registrar's folder, the cache or the store; and what is in the cache when it is full."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executors.artifacts import ABANDONED_S, Artifacts
from executors.backends.open import open_backend
from executors.backends.protocol import ArtifactBroken
from registry.records import Artifact
from registry.store import ArtifactSettings
from streams.blobs import LocalStore, S3Store, name_of
from streams.errors import StoreUnreachable
from tests.executors.models import registered, variant, write_pt2
from tests.registry.hostile import expression, rewritten
from tests.streams.faulty import BUCKET, S3, s3

DATA = b"weights" * 1_000


def artifact(data: bytes = DATA, *, path: Path | str = "", **changes: Any) -> Artifact:
    fields: dict[str, Any] = {"path": str(path), "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return Artifact(**{**fields, **changes})


@pytest.fixture
def settings(tmp_path: Path) -> ArtifactSettings:
    return ArtifactSettings(url=str(tmp_path / "store"), cache=tmp_path / "cache", cache_max_bytes=20_000)


@pytest.fixture
def store(settings: ArtifactSettings) -> LocalStore:
    return LocalStore(Path(settings.url))


def place(settings: ArtifactSettings, data: bytes = DATA) -> Path:
    return settings.cache / name_of(f"sha256:{hashlib.sha256(data).hexdigest()}")


def cached(settings: ArtifactSettings) -> set[int]:
    """The sizes of what the cache holds."""
    return {path.stat().st_size for path in settings.cache.glob("sha256/??/*")}


def test_find_takes_the_registrars_file_then_the_cache_then_the_store(
    tmp_path: Path, settings: ArtifactSettings, store: LocalStore
) -> None:
    """Nothing is copied while the first is there; nothing is fetched while the second is."""
    own = tmp_path / "m.onnx"
    own.write_bytes(DATA)
    store.put(DATA)
    here = Artifacts(settings)
    first = here.find(artifact(path=own), "v").path
    copied = settings.cache.exists()
    own.write_bytes(b"another model by now")
    second = here.find(artifact(path=own), "v").path
    (Path(settings.url) / name_of(f"sha256:{artifact().sha256}")).unlink()
    third = here.find(artifact(), "v").path

    assert (first, copied) == (own, False)
    assert second == third == place(settings)
    assert third.read_bytes() == DATA


@pytest.mark.parametrize("left", [b"", DATA[:100], DATA[:-1] + b"x"])
def test_find_half_written_or_corrupt_copy_is_fetched_again(
    left: bytes, settings: ArtifactSettings, store: LocalStore
) -> None:
    """What a crash of the machine left under the name of the whole."""
    store.put(DATA)
    place(settings).parent.mkdir(parents=True)
    place(settings).write_bytes(left)

    assert Artifacts(settings).find(artifact(), "v").path.read_bytes() == DATA


def test_find_nowhere_or_spoiled_says_where_it_was_looked_for(
    tmp_path: Path, settings: ArtifactSettings, store: LocalStore
) -> None:
    """The variant, what is wrong with each place, and no half of it in the cache."""
    here = Artifacts(settings)
    with pytest.raises(
        ArtifactBroken, match=r"^v: .*gone.* cannot be read: No such file.*; sha256:\w+ is not in .*store"
    ):
        here.find(artifact(path=tmp_path / "gone"), "v")
    store.put(DATA)
    (store.root / name_of(f"sha256:{artifact().sha256}")).write_bytes(b"spoiled")
    with pytest.raises(ArtifactBroken, match=r"^v: sha256:\w+: the 7 bytes kept there have sha256"):
        here.find(artifact(bytes=0), "v")
    with pytest.raises(ArtifactBroken, match="is not sha256: and 64 hex digits"):
        here.find(artifact(sha256="../../etc/passwd"), "v")

    assert not list(settings.cache.glob("sha256/??/*"))


def test_find_without_a_store_makes_no_folder(tmp_path: Path, settings: ArtifactSettings) -> None:
    """Who only reads leaves nothing behind, and says which setting is meant."""
    with pytest.raises(ArtifactBroken, match=r"no store at .*store \(\[artifacts\] url\)"):
        Artifacts(settings).find(artifact(), "v")

    assert not Path(settings.url).exists()


def test_find_pipe_or_device_of_a_record_is_not_read(tmp_path: Path, settings: ArtifactSettings) -> None:
    """A path that came from a topic may be anything; none of it holds up the thread that loads."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(ArtifactBroken, match="is no file"):
            Artifacts(settings).find(artifact(path=path), "v")


def test_cache_drops_what_was_not_used_for_longest_and_nothing_in_use(
    settings: ArtifactSettings, store: LocalStore
) -> None:
    """Of 6,000, 7,000 and 6,500 the 7,000 goes, for 6,000 was asked for again; then what is held stays."""
    files = {size: bytes([size % 251]) * size for size in (6_000, 7_000, 6_500, 6_600, 9_000)}
    for data in files.values():
        store.put(data)
    here = Artifacts(settings)
    for age, size in enumerate((6_000, 7_000, 6_500)):
        here.find(artifact(files[size]), "v").close()
        os.utime(place(settings, files[size]), (1_000 + age, 1_000 + age))
    here.find(artifact(files[6_000]), "v").close()
    held = here.find(artifact(files[6_600]), "v")
    after = cached(settings)
    others = [here.find(artifact(files[size]), "v") for size in (6_000, 6_500)]
    with pytest.raises(ArtifactBroken, match="its 9000 bytes do not fit beside 19100 in use: cache_max_bytes = 20000"):
        here.find(artifact(files[9_000]), "v")
    held.close()
    for other in others:
        other.close()
    here.find(artifact(files[9_000]), "v").close()

    assert after == {6_000, 6_500, 6_600}
    assert 9_000 in cached(settings)
    assert sum(cached(settings)) <= 20_000


def test_cache_of_a_file_of_unknown_size_is_bounded_too(settings: ArtifactSettings, store: LocalStore) -> None:
    """Records before sizes were written down: room is made afterwards, and never of what just came."""
    first, second = b"a" * 12_000, b"b" * 15_000
    for data in (first, second):
        store.put(data)
    here = Artifacts(settings)
    here.find(artifact(first, bytes=0), "v").close()
    here.find(artifact(second, bytes=0), "v").close()

    assert cached(settings) == {15_000}


def test_cache_parts_of_a_crash_go(settings: ArtifactSettings, store: LocalStore) -> None:
    """After an hour; a younger one may be somebody's."""
    store.put(DATA)
    folder = settings.cache / "sha256" / "aa"
    folder.mkdir(parents=True)
    for name, age_s in (("old.part", ABANDONED_S + 60), ("new.part", 0)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age_s,) * 2)
    Artifacts(settings).find(artifact(), "v")

    assert [path.name for path in folder.iterdir()] == ["new.part"]


def test_find_by_many_at_once_fetches_once(settings: ArtifactSettings, store: LocalStore) -> None:
    """Executors that start together: one fetches, the others wait for it."""
    store.put(DATA)
    fetched: list[str] = []

    class Counting(LocalStore):
        def get_file(self, digest: str, path: Path, *, size_max_bytes: int | None = None) -> None:
            fetched.append(digest)
            super().get_file(digest, path, size_max_bytes=size_max_bytes)

    found: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(
                Artifacts(settings, store=Counting(store.root)).find(artifact(), "v").path.read_bytes()
            )
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert found == [DATA] * 4
    assert len(fetched) == 1


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with s3() as server:
        yield server


def test_find_in_s3_survives_its_failures(
    served: S3, settings: ArtifactSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500s and a body that breaks off are tried again, one that is away is waited for; absent, spoiled are told."""
    bucket = S3Store(BUCKET, "models", endpoint=served.endpoint, region="us-east-1", timeout_s=5.0, away_s=0.0)
    bucket.put(DATA)
    here = Artifacts(settings, store=bucket, pauses_s=(0.0, 0.0))
    served.faults.extend(["500", "500", "cut"])
    first = here.find(artifact(), "v")
    place(settings).unlink()
    served.faults.extend(["500"] * 5)  # one turn of three tries, and two of the next
    second = here.find(artifact(), "v").path.read_bytes()
    place(settings).unlink()
    served.faults.extend(["500"] * 9)
    with pytest.raises(StoreUnreachable, match="v: s3://values/models refuses: InternalError"):
        here.find(artifact(), "v")
    with pytest.raises(ArtifactBroken, match=r"v: sha256:\w+ is not in s3://values/models"):
        here.find(artifact(b"never"), "v")
    key = f"models/{name_of(f'sha256:{artifact().sha256}')}"
    served.client.put_object(Bucket=BUCKET, Key=key, Body=DATA[:-1] + b"x")
    with pytest.raises(ArtifactBroken, match="the 7000 bytes kept there have sha256"):
        here.find(artifact(), "v")

    assert first.path == place(settings)
    assert second == DATA
    assert not list(settings.cache.glob("sha256/??/*"))


@pytest.mark.models
def test_open_program_that_would_run_code_is_refused_here_too(tmp_path: Path) -> None:
    """A record may come from anybody who may write to the topic; its hash only says that it is the one it names."""
    mark = tmp_path / "exploded"
    path = rewritten(write_pt2(tmp_path / "m.pt2"), expression(f"__import__('os').mkdir({str(mark)!r})"))

    with pytest.raises(ArtifactBroken, match=r"tiny-torch: m\.pt2: expr_str .* of its graph"):
        open_backend(variant("torch"), registered("torch", path))

    assert not mark.exists()
