"""The store of large values, if there is one: whether this machine can put there and get back."""

from __future__ import annotations

import time
from collections.abc import Iterator

from headrace.doctor.finding import Finding
from headrace.settings import Settings
from streams.blobs import open_store
from streams.errors import StoreUnreachable

PROBE = b"headrace doctor was here\n"  # always the same value, so that only one is ever left


def store(settings: Settings) -> Iterator[Finding]:
    url, began = settings.blobs.url, time.monotonic()
    try:
        made = open_store(settings.blobs)
        if made is None:
            limit = settings.kafka.value_max_bytes
            yield Finding("ok", "store", f"none: what is larger than {limit:,} bytes is refused, or fails")
            return
        made.get(made.put(PROBE), size_max_bytes=len(PROBE))
    except StoreUnreachable as away:
        yield Finding("fail", "store", away.message, "executors and clients need to put there and get")
        return
    yield Finding("ok", "store", f"{url}: a value put and got in {(time.monotonic() - began) * 1e3:.0f} ms")
