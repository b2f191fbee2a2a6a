"""Both stores keep one promise: the bytes of a digest, whole and checked, or why not."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

from streams.blobs import BlobSettings, LocalStore, S3Store, Store, digest_of, name_of, open_store
from streams.errors import BadClaim, BadSettings, ClaimNotFound, ClaimTooLarge, StoreUnreachable, ValueCorrupt
from tests.streams.faulty import BUCKET, S3

DATA = b"a value, large or small" * 1_000
DIGEST = digest_of(DATA)
ABSENT = "sha256:" + "0" * 64
MAX = 1_000_000
DAY_S = 86_400.0


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return LocalStore(tmp_path / "store")
    made: S3Store = request.getfixturevalue("bucket")
    return made


# Both.


def test_put_then_get_gives_the_same_bytes(store: Store) -> None:
    """Twice is once, and nothing is nothing."""
    assert store.put(DATA) == store.put(DATA) == DIGEST
    assert store.put(b"") == digest_of(b"")
    assert (store.get(DIGEST, size_max_bytes=MAX), store.get(digest_of(b""), size_max_bytes=0)) == (DATA, b"")
    assert (store.exists(DIGEST), store.exists(ABSENT)) == (True, False)


def test_files_go_in_and_come_out_by_the_same_names(store: Store, tmp_path: Path) -> None:
    """A file and its bytes have one digest; larger than a part of an upload."""
    large = os.urandom(17 << 20)
    (tmp_path / "model").write_bytes(large)
    digest = store.put_file(tmp_path / "model")
    store.get_file(digest, tmp_path / "copy")

    assert digest == digest_of(large)
    assert (tmp_path / "copy").read_bytes() == large
    assert store.get(digest, size_max_bytes=len(large)) == large


def test_absent_value_is_not_found(store: Store, tmp_path: Path) -> None:
    """By name of the digest and of the store; a file is not begun for it."""
    with pytest.raises(ClaimNotFound, match=ABSENT):
        store.get(ABSENT, size_max_bytes=MAX)
    with pytest.raises(ClaimNotFound):
        store.get_file(ABSENT, tmp_path / "copy")

    assert not list(tmp_path.glob("copy*"))


@pytest.mark.parametrize(
    "claim",
    ["", "sha256:", DIGEST[:-1], DIGEST + "0", DIGEST.upper(), DIGEST.replace("sha256:", ""), DIGEST + "\n",
     "sha1:" + "0" * 40, "sha256:../../../../etc/passwd", "sha256:" + "../" * 21 + "a", "/etc/passwd",
     "file:///etc/passwd", "s3://other/key", "http://127.0.0.1/", "sha256:" + "0" * 63 + "/", "\x00" * 71],
)  # fmt: skip
def test_what_is_no_digest_is_never_looked_for(store: Store, claim: str, tmp_path: Path) -> None:
    """Paths, addresses and other hashes are refused by their form, in every method that takes one."""
    with pytest.raises(BadClaim, match="64 hex digits"):
        store.get(claim, size_max_bytes=MAX)
    with pytest.raises(BadClaim):
        store.get_file(claim, tmp_path / "copy")
    with pytest.raises(BadClaim):
        store.exists(claim)


def test_larger_than_allowed_is_refused_before_it_is_read(store: Store, tmp_path: Path) -> None:
    """The message has the limit; at the limit it is given."""
    store.put(DATA)
    with pytest.raises(ClaimTooLarge, match=f"{len(DATA)} bytes or more; at most {len(DATA) - 1}"):
        store.get(DIGEST, size_max_bytes=len(DATA) - 1)
    with pytest.raises(ClaimTooLarge):
        store.get_file(DIGEST, tmp_path / "copy", size_max_bytes=len(DATA) - 1)

    assert store.get(DIGEST, size_max_bytes=len(DATA)) == DATA
    assert not list(tmp_path.glob("copy*"))


def test_prune_removes_what_is_old_and_put_makes_it_young(store: Store) -> None:
    """Nothing is older than a day; all is older than minus a minute."""
    store.put(DATA)
    store.put(b"other")
    kept = store.prune(DAY_S)
    found = (store.exists(DIGEST), kept)
    gone = store.prune(-60.0)

    assert found == (True, (0, 0))
    assert gone == (2, len(DATA) + 5)
    assert not store.exists(DIGEST)


# A folder.


def test_kept_lists_values_and_remove_takes_one(store: Store) -> None:
    """With size and time; what is removed is gone, and removing it again is no error."""
    began = time.time()
    one, other = store.put(b"one"), store.put(b"others")
    found = {each.digest: each for each in store.kept()}
    store.remove(one)
    store.remove(one)

    assert {digest: each.size_bytes for digest, each in found.items()} == {one: 3, other: 6}
    assert all(abs(each.put_s - began) < 60 for each in found.values())
    assert [each.digest for each in store.kept()] == [other]
    with pytest.raises(BadClaim):
        store.remove("sha256:../../x")


def test_folder_half_written_file_is_told_and_mended(tmp_path: Path) -> None:
    """What a crash cut short is no value; the next put of the same bytes makes it one."""
    store = LocalStore(tmp_path)
    store.put(DATA)
    (tmp_path / name_of(DIGEST)).write_bytes(DATA[:100])
    with pytest.raises(ValueCorrupt, match=f"{DIGEST}: the 100 bytes"):
        store.get(DIGEST, size_max_bytes=MAX)
    with pytest.raises(ValueCorrupt):
        store.get_file(DIGEST, tmp_path / "copy")
    store.put(DATA)

    assert store.get(DIGEST, size_max_bytes=MAX) == DATA
    assert not list(tmp_path.glob("copy*"))


def test_folder_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, say: the error is typed and names the reason; no half a file stays under any name."""
    store = LocalStore(tmp_path)
    (tmp_path / "source").write_bytes(DATA)

    def full(_number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnreachable, match="No space left on device"):
        store.put(DATA)
    with pytest.raises(StoreUnreachable, match="No space left on device"):
        store.put_file(tmp_path / "source")

    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["source"]


def test_folder_prune_takes_old_leftovers_and_spares_strangers(tmp_path: Path) -> None:
    """What a killed writer left is removed with the rest, by age; a file of somebody else stays."""
    store = LocalStore(tmp_path)
    store.put(DATA)
    left = [tmp_path / "0123.part", (tmp_path / name_of(DIGEST)).with_name("x.0123.part")]
    stranger = (tmp_path / name_of(DIGEST)).with_name("README")
    for path in (*left, stranger):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - 2 * DAY_S,) * 2)
    pruned = store.prune(DAY_S)

    assert pruned == (2, 8)
    assert [path.exists() for path in left] == [False, False]
    assert stranger.exists()
    assert store.exists(DIGEST)


def test_folder_pipe_under_a_digest_does_not_hold_up_a_reader(tmp_path: Path) -> None:
    """Whoever may write to the folder cannot make an executor wait for ever."""
    store = LocalStore(tmp_path)
    place = tmp_path / name_of(DIGEST)
    place.parent.mkdir(parents=True)
    os.mkfifo(place)

    with pytest.raises(ClaimNotFound, match="is no file"):
        store.get(DIGEST, size_max_bytes=MAX)


def test_folder_that_is_away_is_unreachable_not_empty(tmp_path: Path) -> None:
    """An unmounted folder says nothing about the value; a place that cannot be a folder is told at once."""
    store = LocalStore(tmp_path / "mount")
    (tmp_path / "mount").rmdir()
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnreachable, match="No such file"):
        store.get(DIGEST, size_max_bytes=MAX)
    with pytest.raises(StoreUnreachable, match="file"):
        LocalStore(tmp_path / "file" / "below")


def test_folder_values_can_be_read_by_other_users(tmp_path: Path) -> None:
    """Client and executor may run under different names: the umask decides, not we."""
    before = os.umask(0o022)
    try:
        LocalStore(tmp_path).put(DATA)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / name_of(DIGEST)).stat().st_mode) == 0o644


def test_folder_writers_of_one_value_do_not_disturb_readers(tmp_path: Path) -> None:
    """Four put the same bytes over and over; whoever reads meanwhile gets all of them each time."""
    store = LocalStore(tmp_path)
    store.put(DATA)
    writers = [threading.Thread(target=lambda: [store.put(DATA) for _ in range(20)]) for _ in range(4)]
    for writer in writers:
        writer.start()
    seen = {store.get(DIGEST, size_max_bytes=MAX) for _ in range(50)}
    for writer in writers:
        writer.join()

    assert seen == {DATA}
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


# Settings.


def test_url_chooses_the_store(served: S3, tmp_path: Path) -> None:
    """A folder, a bucket with or without a prefix, or none; the folder is made."""
    folder = open_store(BlobSettings(url=str(tmp_path / "new")))
    far = open_store(BlobSettings(url="s3://values/some/prefix/", endpoint=served.endpoint, region="eu-west-1"))

    assert open_store(BlobSettings(url="")) is None
    assert isinstance(folder, LocalStore)
    assert folder.root.is_dir()
    assert str(far) == "s3://values/some/prefix"
    assert BlobSettings(url="s3://values").bucket == ("values", "")
    assert BlobSettings(url="~/values").folder == Path.home() / "values"


@pytest.mark.parametrize("url", ["http://x/y", "file:///x", "s3://", "s3://UPPER/x", "s3://b/x", "s3://bucket/../x"])
def test_url_of_another_kind_is_refused(url: str) -> None:
    """So is a bucket or prefix that S3 would not take."""
    with pytest.raises(ValueError, match="neither a folder nor s3"):
        BlobSettings(url=url)


def test_url_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the cluster is, for clients without a file."""
    monkeypatch.setenv("HEADRACE_BLOBS__URL", "s3://values/x")
    monkeypatch.setenv("HEADRACE_BLOBS__ENDPOINT", "http://127.0.0.1:9000")

    assert (BlobSettings().url, BlobSettings().endpoint) == ("s3://values/x", "http://127.0.0.1:9000")


def test_endpoint_that_boto3_refuses_is_a_bad_setting() -> None:
    """Before anything is asked."""
    with pytest.raises(BadSettings, match="Invalid endpoint"):
        S3Store(BUCKET, endpoint="http://no host/")


def test_s3_without_boto3_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(BadSettings, match=r"headrace\[aws\]"):
        open_store(BlobSettings(url="s3://values"))
