"""A store in a bucket that fails: what is tried again, what is told, and what is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.blobs import S3Store, digest_of, name_of
from streams.blobs.away import Away
from streams.errors import BadClaim, ClaimNotFound, StoreUnreachable, ValueCorrupt
from tests.streams.faulty import BUCKET, S3
from tests.streams.test_blobs import ABSENT, DATA, DIGEST, MAX


def test_s3_failures_of_the_server_are_tried_again(served: S3, bucket: S3Store) -> None:
    """Two 500s and a connection that breaks are not told to anyone."""
    served.faults.extend(["500", "hang-up"])
    bucket.put(DATA)
    served.faults.extend(["500", "500"])
    got = bucket.get(DIGEST, size_max_bytes=MAX)

    assert got == DATA
    assert len(served.requests) == 6


def test_s3_server_that_keeps_failing_is_unreachable_after_so_many_tries(served: S3, bucket: S3Store) -> None:
    """Three tries each, and then words."""
    served.faults.extend(["500"] * 6)
    with pytest.raises(StoreUnreachable, match=rf"s3://{BUCKET}/kept/here refuses: InternalError We are sorry"):
        bucket.put(DATA)
    with pytest.raises(StoreUnreachable, match="InternalError"):
        bucket.get(DIGEST, size_max_bytes=MAX)

    assert len(served.requests) == 6


def test_s3_that_was_away_a_moment_ago_is_not_asked_by_everyone(served: S3, bucket: S3Store) -> None:
    """Who comes next is told at once, who is no digest or comes later as ever; one answer, also a no, ends it."""
    bucket._away._pause_s = 3_600.0
    served.faults.extend(["500"] * 3)
    with pytest.raises(StoreUnreachable):
        bucket.put(DATA)
    with pytest.raises(StoreUnreachable, match=r"InternalError .*\(a moment ago"):
        bucket.get(ABSENT, size_max_bytes=MAX)
    with pytest.raises(BadClaim):
        bucket.get("../x", size_max_bytes=MAX)
    asked = len(served.requests)
    bucket._away._again_at = 0.0
    with pytest.raises(ClaimNotFound):
        bucket.get(ABSENT, size_max_bytes=MAX)
    bucket.put(DATA)

    assert asked == 3
    assert len(served.requests) == 5


def test_s3_refusals_of_one_value_do_not_make_it_away(served: S3, bucket: S3Store) -> None:
    """Or a stranger's query could stop those of everybody: absent, spoiled, broken off."""
    bucket._away._pause_s = 3_600.0
    bucket.put(DATA)
    served.client.put_object(Bucket=BUCKET, Key=f"kept/here/{name_of(ABSENT)}", Body=b"something else")
    served.faults.extend(["cut"] * 3)
    with pytest.raises(StoreUnreachable, match="broke off"):
        bucket.get(DIGEST, size_max_bytes=MAX)
    with pytest.raises(ValueCorrupt):
        bucket.get(ABSENT, size_max_bytes=MAX)
    with pytest.raises(ClaimNotFound):
        bucket.get(digest_of(b"never"), size_max_bytes=MAX)

    assert bucket.get(DIGEST, size_max_bytes=MAX) == DATA


def test_away_lets_one_find_out() -> None:
    """While somebody asks a store that was away, nobody else does; whether that one is answered or not."""
    away = Away(0.0)
    away.failed("away")
    with away.asking(), pytest.raises(StoreUnreachable, match="away"), away.asking():
        pass
    with away.asking() as again:
        again.answered()
    with away.asking(), away.asking():
        pass


def test_s3_body_that_breaks_off_is_fetched_again(served: S3, bucket: S3Store, tmp_path: Path) -> None:
    """botocore does not try that again; a file starts anew."""
    bucket.put(DATA)
    served.faults.extend(["cut", "cut"])
    got = bucket.get(DIGEST, size_max_bytes=MAX)
    served.faults.append("cut")
    bucket.get_file(DIGEST, tmp_path / "copy")

    assert got == DATA
    assert (tmp_path / "copy").read_bytes() == DATA
    assert len(served.requests) == 1 + 3 + 2


def test_s3_body_that_always_breaks_off_is_unreachable(served: S3, bucket: S3Store, tmp_path: Path) -> None:
    """Bounded, and no part of it is left."""
    bucket.put(DATA)
    served.faults.extend(["cut"] * 6)
    with pytest.raises(StoreUnreachable, match="broke off"):
        bucket.get(DIGEST, size_max_bytes=MAX)
    with pytest.raises(StoreUnreachable, match="broke off"):
        bucket.get_file(DIGEST, tmp_path / "copy")

    assert len(served.requests) == 1 + 6
    assert not list(tmp_path.glob("copy*"))


def test_s3_object_that_is_something_else_is_corrupt(served: S3, bucket: S3Store) -> None:
    """Someone wrote other bytes under that key: told at once, and mended by the next put."""
    served.client.put_object(Bucket=BUCKET, Key=f"kept/here/{name_of(DIGEST)}", Body=b"something else")
    served.requests.clear()
    with pytest.raises(ValueCorrupt, match="the 14 bytes"):
        bucket.get(DIGEST, size_max_bytes=MAX)
    tried = len(served.requests)
    bucket.put(DATA)

    assert tried == 1
    assert bucket.get(DIGEST, size_max_bytes=MAX) == DATA


def test_s3_prune_stays_below_its_prefix(served: S3, bucket: S3Store) -> None:
    """Neighbours in the bucket are not ours."""
    bucket.put(DATA)
    for key in ("kept/here/README", "kept/herein/sha256/aa/bb", "sha256/aa/bb"):
        served.client.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    pruned = bucket.prune(-60.0)
    left = [one["Key"] for one in served.client.list_objects_v2(Bucket=BUCKET)["Contents"]]

    assert pruned == (1, len(DATA))
    assert left == ["kept/here/README", "kept/herein/sha256/aa/bb", "sha256/aa/bb"]


def test_s3_bucket_that_is_not_there_is_no_missing_value(served: S3, bucket: S3Store) -> None:
    """A wrong setting must not look as if every client had sent nonsense."""
    wrong = S3Store("no-such-bucket", endpoint=served.endpoint, region="us-east-1")

    with pytest.raises(StoreUnreachable, match="s3://no-such-bucket refuses: NoSuchBucket"):
        wrong.get(DIGEST, size_max_bytes=MAX)


def test_s3_nobody_there_is_unreachable(bucket: S3Store) -> None:
    """In words, within the tries."""
    silent = S3Store(BUCKET, endpoint="http://127.0.0.1:1", region="us-east-1", timeout_s=0.2, tries=1)

    with pytest.raises(StoreUnreachable, match="Could not connect"):
        silent.put(DATA)
