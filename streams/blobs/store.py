"""What a store of bytes can do, whatever it is made of, and how its contents are named and checked.

A value is named by its sha256 alone. The name can be guessed by nobody who does not have the bytes, leads nowhere
but to them, and says afterwards whether they came back whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from streams.errors import BadClaim, ClaimTooLarge, ValueCorrupt

CHUNK_BYTES = 1 << 20
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class Pruned(NamedTuple):
    """What was removed."""

    values: int
    size_bytes: int


class Kept(NamedTuple):
    """One value of a store. Units: `put_s` is wall time, when it was last put."""

    digest: str
    size_bytes: int
    put_s: float


class Store(Protocol):
    """Every method may be called from any thread, and blocks.

    A digest is `sha256:` and 64 hex digits in lower case; nothing else is ever looked for.
    Raises: BadClaim on any other digest, StoreUnreachable from every method; see each for the rest.
    """

    def put(self, data: bytes) -> str:
        """Keep these bytes and return their digest. What is there already is written again: it counts as new."""

    def put_file(self, path: Path) -> str:
        """`put` for what need not fit into memory; the file must not change meanwhile."""

    def get(self, digest: str, *, size_max_bytes: int) -> bytes:
        """The bytes of that digest. Raises: ClaimNotFound, ClaimTooLarge, ValueCorrupt."""

    def get_file(self, digest: str, path: Path, *, size_max_bytes: int | None = None) -> None:
        """`get` into a file, which is there whole and checked, or not at all. Raises: as `get`."""

    def exists(self, digest: str) -> bool:
        """Whether something is kept under that digest; `get` says whether it is sound."""

    def kept(self) -> Iterator[Kept]:
        """Every value that is there, in no order; what is put or removed meanwhile may be in it or not."""

    def remove(self, digest: str) -> None:
        """Remove one value, if it is there."""

    def prune(self, older_than_s: float) -> Pruned:
        """Remove what was last put more than so many seconds ago, and what was left half-written then."""


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def name_of(digest: str) -> str:
    """Where a store keeps it, below its root or prefix: `sha256/<2 hex>/<64 hex>`.

    Raises: BadClaim.
    """
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise BadClaim(f"{digest[:80]!r} is not sha256: and 64 hex digits in lower case")
    return f"sha256/{match[1][:2]}/{match[1]}"


def verified(chunks: Iterable[bytes], digest: str, *, size_max_bytes: int | None) -> Iterator[bytes]:
    """The chunks as they come; who takes them all knows that they are what the digest says.

    Raises: ClaimTooLarge as soon as they are; ValueCorrupt at their end.
    """
    hashed, size_bytes = hashlib.sha256(), 0
    for chunk in chunks:
        size_bytes += len(chunk)
        check_size(digest, size_bytes, size_max_bytes)
        hashed.update(chunk)
        yield chunk
    if f"sha256:{hashed.hexdigest()}" != digest:
        raise ValueCorrupt(f"{digest}: the {size_bytes} bytes kept there have sha256 {hashed.hexdigest()}")


def check_size(digest: str, size_bytes: int, size_max_bytes: int | None) -> None:
    """Raises: ClaimTooLarge."""
    if size_max_bytes is not None and size_bytes > size_max_bytes:
        raise ClaimTooLarge(
            f"{digest}: {size_bytes} bytes or more; at most {size_max_bytes} are fetched (size_max_bytes in [blobs])"
        )
