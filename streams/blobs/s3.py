"""A store in a bucket of S3, or of anything that speaks its protocol. boto3 is imported when one is made."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from streams.blobs.away import Away
from streams.blobs.local import written
from streams.blobs.store import CHUNK_BYTES, Kept, Pruned, check_size, name_of, verified
from streams.errors import BadClaim, BadSettings, ClaimNotFound, StoreUnreachable

PAUSE_S = 0.1  # before a body that broke off is asked for again; doubled each time
PART_BYTES = 16 << 20  # files above it are sent in parts

T = TypeVar("T")


class _BrokeOff(StoreUnreachable):
    """The answer began well and did not end: worth asking again, which botocore does not."""


class S3Store:
    """See `Store`. A request is tried `tries` times, and so is a body that breaks off."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        region: str | None = None,
        timeout_s: float = 5.0,
        tries: int = 3,
        connections: int = 10,
        away_s: float = 1.0,
    ) -> None:
        """Make a client; nothing is asked yet.

        Units:  `timeout_s` to connect, and for each wait for the other side; `away_s` before a bucket that did not
                answer is asked again.

        Raises: BadSettings without boto3, or if it refuses the configuration.
        """
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ModuleNotFoundError as missing:
            raise BadSettings(f's3://{bucket} needs boto3: pip install "headrace[aws]"') from missing

        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._tries = tries
        self._away = Away(away_s)
        config = Config(
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            retries={"total_max_attempts": tries, "mode": "standard"},
            max_pool_connections=max(10, connections),
            s3={"addressing_style": "path"} if endpoint else {},  # names of buckets are no host names elsewhere
            request_checksum_calculation="when_required",  # sha256 is ours; other stores do not know botocore's CRC
            response_checksum_validation="when_required",
        )
        try:
            session = boto3.session.Session()  # the default session is not made for threads
            self._client: Any = session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
        except (ValueError, BotoCoreError) as refused:
            raise BadSettings(f"{self}: {refused}") from refused

    def put(self, data: bytes) -> str:
        hashed = hashlib.sha256(data)
        digest = f"sha256:{hashed.hexdigest()}"
        with self._spoken():
            self._client.put_object(
                Bucket=self._bucket, Key=self._key(digest), Body=data,
                ChecksumSHA256=base64.b64encode(hashed.digest()).decode(),  # the store checks what reached it
            )  # fmt: skip
        return digest

    def put_file(self, path: Path) -> str:
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False)
        with path.open("rb") as file, self._spoken():
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            file.seek(0)
            self._client.upload_fileobj(file, self._bucket, self._key(digest), Config=parts)
        return digest

    def get(self, digest: str, *, size_max_bytes: int) -> bytes:
        return self._again(lambda: b"".join(self._chunks(digest, size_max_bytes)))

    def get_file(self, digest: str, path: Path, *, size_max_bytes: int | None = None) -> None:
        def fetch() -> None:
            try:
                with written(path) as file:
                    for chunk in self._chunks(digest, size_max_bytes):
                        file.write(chunk)
            except OSError as failed:
                raise StoreUnreachable(f"{failed.filename or path}: {failed.strerror or failed}") from failed

        self._again(fetch)

    def exists(self, digest: str) -> bool:
        key = self._key(digest)
        try:
            with self._spoken(digest):
                self._client.head_object(Bucket=self._bucket, Key=key)
        except ClaimNotFound:
            return False
        return True

    def kept(self) -> Iterator[Kept]:
        with self._spoken():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}sha256/"):
                for found in page.get("Contents", ()):
                    digest = f"sha256:{found['Key'].rpartition('/')[2]}"
                    with contextlib.suppress(BadClaim):  # not ours
                        if self._key(digest) == found["Key"]:
                            yield Kept(digest, found["Size"], found["LastModified"].timestamp())

    def remove(self, digest: str) -> None:
        with self._spoken():
            self._client.delete_object(Bucket=self._bucket, Key=self._key(digest))

    def prune(self, older_than_s: float) -> Pruned:
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        count = size_bytes = 0
        with self._spoken():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}sha256/"):
                old = [found for found in page.get("Contents", ()) if found["LastModified"] < before]
                if not old:
                    continue
                named = {"Objects": [{"Key": found["Key"]} for found in old], "Quiet": True}
                refused = self._client.delete_objects(Bucket=self._bucket, Delete=named).get("Errors", ())
                if refused:
                    raise StoreUnreachable(f"{self}: {len(refused)} not removed, the first: {refused[0]}")
                count, size_bytes = count + len(old), size_bytes + sum(found["Size"] for found in old)
        return Pruned(count, size_bytes)

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def _key(self, digest: str) -> str:
        return self._prefix + name_of(digest)

    def _chunks(self, digest: str, size_max_bytes: int | None) -> Iterator[bytes]:
        from botocore.exceptions import BotoCoreError

        key = self._key(digest)
        with self._spoken(digest):
            found = self._client.get_object(Bucket=self._bucket, Key=key)
        with contextlib.closing(found["Body"]) as body:
            check_size(digest, found["ContentLength"], size_max_bytes)
            try:
                yield from verified(body.iter_chunks(CHUNK_BYTES), digest, size_max_bytes=size_max_bytes)
            except BotoCoreError as torn:
                raise _BrokeOff(f"{self}: {digest} broke off: {torn}") from torn

    def _again(self, fetch: Callable[[], T]) -> T:
        for tried in range(1, self._tries):
            try:
                return fetch()
            except _BrokeOff:
                time.sleep(PAUSE_S * 2 ** (tried - 1))
        return fetch()

    @contextlib.contextmanager
    def _spoken(self, digest: str | None = None) -> Iterator[None]:
        """Failures of one request in our own words; at once, if the bucket did not answer a moment ago."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        with self._away.asking() as away:
            try:
                yield
            except ClientError as refused:
                error, status = refused.response["Error"], refused.response["ResponseMetadata"]["HTTPStatusCode"]
                told = f"{self} refuses: {error['Code']} {error.get('Message', '')}".strip()
                if status >= 500:
                    away.failed(told)
                    raise StoreUnreachable(told) from refused
                away.answered()
                if status == 404 and digest is not None and error["Code"] != "NoSuchBucket":
                    raise ClaimNotFound(f"{digest} is not in {self}: never put there, or no longer kept") from refused
                hint = "; without the right to list the bucket, what is missing looks so too" if status == 403 else ""
                raise StoreUnreachable(told + hint) from refused
            except (BotoCoreError, Boto3Error) as silent:
                away.failed(f"{self}: {silent}")
                raise StoreUnreachable(f"{self}: {silent}") from silent
            else:
                away.answered()
