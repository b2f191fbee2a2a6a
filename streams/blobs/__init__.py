"""A content-addressed store of bytes, in a folder or in S3: `open_store(settings)` gives the one that is configured."""

from __future__ import annotations

from streams.blobs.local import LocalStore
from streams.blobs.s3 import S3Store
from streams.blobs.settings import BlobSettings
from streams.blobs.store import Kept, Pruned, Store, digest_of, name_of

__all__ = ["BlobSettings", "Kept", "LocalStore", "Pruned", "S3Store", "Store", "digest_of", "name_of", "open_store"]


def open_store(settings: BlobSettings) -> Store | None:
    """The store that `url` names; None if there is none. An S3 store is not asked for anything yet.

    Raises: StoreUnreachable if the folder cannot be made; BadSettings if S3 cannot be had so.
    """
    if not settings.url:
        return None
    if settings.bucket is None:
        return LocalStore(settings.folder)
    bucket, prefix = settings.bucket
    return S3Store(
        bucket, prefix, endpoint=settings.endpoint or None, region=settings.region or None,
        timeout_s=settings.timeout_s, tries=settings.tries, connections=settings.threads,
    )  # fmt: skip
