"""Which queries a canary answers: a lot that each query id draws once and for all.

The same id draws the same lot in every router and on every redelivery; a larger share keeps those that had drawn it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from registry.catalog import Offer

LOTS_MAX = 64  # sets of canaries kept a class: six canaries of one task at once


class Canary(NamedTuple):
    """A version on trial. Units: `share` of the queries, 0 to 1."""

    model: str
    version: str
    share: float


def canaries(offers: Iterable[Offer]) -> tuple[Canary, ...]:
    """The versions on trial among these offers."""
    return tuple(sorted({Canary(o.model, o.version, o.share) for o in offers if o.share is not None}))


def drawn(query_id: str, tried: Iterable[Canary]) -> frozenset[str]:
    """The models whose canary answers this query."""
    return frozenset(canary.model for canary in tried if _lot(query_id, canary) < canary.share)


def _lot(query_id: str, canary: Canary) -> float:
    """Between 0 and 1, even for ids that only count up: hence not a checksum."""
    text = f"{canary.model}\0{canary.version}\0{query_id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) / 2**64
