"""A payload that is too large for a record, with nothing of ours: put it into the store, and name it in the query.

    HEADRACE_BLOBS__URL=/tmp/values headrace up    # prints KAFKA_BOOTSTRAP_SERVERS for the next line
    HEADRACE_BLOBS__URL=/tmp/values python -m examples.claim_check photo.jpg

headrace.Client does this by itself. With S3 the same name is the object's key, below the prefix.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

from examples.plain_python import ask


def put(store: Path, value: bytes) -> str:
    """Keep a value under its sha256, and return the claim check. Written beside and renamed, so never half there."""
    digest = hashlib.sha256(value).hexdigest()
    place = store / "sha256" / digest[:2] / digest
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f"{digest}.{os.getpid()}.part")
    part.write_bytes(value)
    part.replace(place)
    return f"sha256:{digest}"


def get(store: Path, claim: str) -> bytes:
    """The value of an answer that came with a claim check."""
    digest = claim.removeprefix("sha256:")
    value = (store / "sha256" / digest[:2] / digest).read_bytes()
    assert hashlib.sha256(value).hexdigest() == digest, "the store has something else"
    return value


def main() -> None:
    store = Path(os.environ["HEADRACE_BLOBS__URL"])
    wanted = {
        "task": "image-classification",
        "content-type": "image/jpeg",  # of what the store has
        "claim-check": put(store, Path(sys.argv[1]).read_bytes()),
    }
    outcome, answer = ask(os.environ["KAFKA_BOOTSTRAP_SERVERS"], b"", wanted)  # the record's own value stays empty
    print(outcome)
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
