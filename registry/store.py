"""Section `[artifacts]`: where the files of models are kept, by their sha256.

Not the store of `[blobs]`: what lies there is pruned by age, may be put there by every client, and is as small as a
query. A model's file is put there once by an operator, and needed for as long as the model is registered.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from streams.blobs import BlobSettings, Store, open_store
from streams.folders import cache_folder, data_folder

ENV = "HEADRACE_ARTIFACTS__"


def _given(key: str, default: Callable[[], str] = str) -> Callable[[], str]:
    """From the environment, so that a program that registers finds the store without a settings file."""
    return lambda: os.environ.get(ENV + key.upper()) or default()


class ArtifactSettings(BaseModel):
    """Section `[artifacts]`: the store of models' files, and the executors' cache of it.

    Credentials for S3 are found as every AWS tool finds them: environment, profile, role of the machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        default_factory=_given("url", lambda: str(data_folder() / "artifacts")),
        description="a folder that registrars and executors reach, or s3://bucket/prefix; never pruned, so not [blobs]",
    )
    endpoint: str = Field(default_factory=_given("endpoint"), description="of an S3 that is not Amazon's; https://...")
    region: str = Field(default_factory=_given("region"), description="of the bucket; empty: as AWS tools find it")
    size_max_bytes: int = Field(
        default=4_000_000_000, ge=1_000, le=100_000_000_000, description="largest artifact that is put or fetched"
    )
    timeout_s: float = Field(default=20.0, gt=0.0, le=600.0, description="for S3 to connect, and to send or take more")
    tries: int = Field(default=3, ge=1, le=10, description="of one request to S3")
    cache: Path = Field(
        default_factory=lambda: Path(os.environ.get(f"{ENV}CACHE") or cache_folder() / "artifacts"),
        description="folder of an executor's machine for copies",
    )
    cache_max_bytes: int = Field(
        default=20_000_000_000, ge=1_000, description="of it; what was not used for longest goes first"
    )
    check_s: float = Field(default=300.0, ge=1.0, le=36_000.0, description="to load and run one artifact at `register`")
    check_memory_bytes: int = Field(
        default=4_000_000_000, ge=100_000_000, description="that it may take then, beside its libraries"
    )

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        if not url:
            raise ValueError("an empty one is no store; unset it for the folder of this user")
        return BlobSettings(url=url).url

    @property
    def environment(self) -> dict[str, str]:
        """Variables from which a process that reads no settings file makes the same of it."""
        return {f"{ENV}{key.upper()}": str(getattr(self, key)) for key in ("url", "endpoint", "region", "cache")}

    @property
    def store_settings(self) -> BlobSettings:
        return BlobSettings(
            url=self.url, endpoint=self.endpoint, region=self.region, timeout_s=self.timeout_s, tries=self.tries
        )


def open_artifacts(settings: ArtifactSettings) -> Store:
    """The store; an S3 one is not asked for anything yet.

    Raises: StoreUnreachable if the folder cannot be made; BadSettings if S3 cannot be had so.
    """
    store = open_store(settings.store_settings)
    assert store is not None, "its url is not empty"
    return store
