"""Section `[blobs]`: where values go that are too large for a record."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

ENV = "HEADRACE_BLOBS__"
_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9_.=/-]*))?")


def _given(key: str) -> Callable[[], str]:
    """From the environment, so that a client without a settings file finds the store as it finds the cluster."""
    return lambda: os.environ.get(ENV + key.upper(), "")


class BlobSettings(BaseModel):
    """Section `[blobs]`: the store of values that are too large for a record; clients and executors name the same.

    Credentials for S3 are found as every AWS tool finds them: environment, profile, role of the machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        default_factory=_given("url"),
        description="a folder that all of them reach, or s3://bucket/prefix; empty: no store",
    )
    endpoint: str = Field(default_factory=_given("endpoint"), description="of an S3 that is not Amazon's; https://...")
    region: str = Field(default_factory=_given("region"), description="of the bucket; empty: as AWS tools find it")
    size_max_bytes: int = Field(
        default=64_000_000, ge=1_000, le=4_000_000_000, description="largest value that is put there or fetched"
    )
    threads: int = Field(default=4, ge=1, le=64, description="values on their way at once, in each process")
    waiting_max_bytes: int = Field(
        default=256_000_000, ge=0, description="of results that wait for it; further ones fail, and may be asked again"
    )
    timeout_s: float = Field(default=5.0, gt=0.0, le=300.0, description="for S3 to connect, and to send or take more")
    tries: int = Field(default=3, ge=1, le=10, description="of one request to S3")

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        if "://" in url and (not (found := _S3.fullmatch(url)) or ".." in (found[2] or "").split("/")):
            raise ValueError(f"{url!r} is neither a folder nor s3://bucket/prefix")
        return url

    @field_validator("endpoint")
    @classmethod
    def _endpoint(cls, endpoint: str) -> str:
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise ValueError(f"{endpoint!r} does not begin with https:// or http://")
        return endpoint

    @property
    def bucket(self) -> tuple[str, str] | None:
        """Bucket and prefix of S3; None if `url` is a folder."""
        found = _S3.fullmatch(self.url)
        return None if found is None else (found[1], (found[2] or "").strip("/"))

    @property
    def folder(self) -> Path:
        return Path(self.url).expanduser()
