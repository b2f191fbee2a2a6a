"""An S3 for the tests of this folder, once a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.blobs import S3Store
from tests.streams.faulty import BUCKET, S3, s3


@pytest.fixture(scope="module")
def served() -> Iterator[S3]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "any")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with s3() as running:
            yield running


@pytest.fixture
def bucket(served: S3) -> Iterator[S3Store]:
    """A prefix that nothing stands under; faults that a test left over are taken back."""
    served.faults.clear()
    found = served.client.list_objects_v2(Bucket=BUCKET).get("Contents", ())
    for one in found:
        served.client.delete_object(Bucket=BUCKET, Key=one["Key"])
    served.requests.clear()
    store = S3Store(
        BUCKET, "kept/here", endpoint=served.endpoint, region="us-east-1", timeout_s=2.0, tries=3, away_s=0.0
    )
    yield store
    served.faults.clear()
    store._client.close()
