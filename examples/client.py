"""Ask Headrace with its own client: futures, many at once, copies dropped, errors before sending.

headrace up                                    # prints KAFKA_BOOTSTRAP_SERVERS for the next line
python examples/client.py
"""

from __future__ import annotations

import asyncio
from collections import Counter

import numpy as np

from headrace import AsyncClient, Client, HeadraceError, KafkaSettings

DIGIT = np.zeros((8, 8), dtype=np.float32)
DIGIT[:, 3:5] = 16  # a bright bar: a rather plain "1"


def one(client: Client) -> None:
    """Ask and wait. What is wanted are keyword arguments; arrays, dicts, JPEG and PNG bytes are payloads."""
    reply = client.ask(DIGIT, task="digit-classification", slo_ms=500, accuracy_min=0.95)
    if reply.ok:
        print(f"{reply.top(1)} by {reply.variant}, accuracy {reply.accuracy}, {reply.latency_ms:.1f} ms")
    elif reply.error is not None:
        print(f"{reply.outcome}: {reply.error.code}: {reply.error.message}")


def many(client: Client) -> None:
    """`submit` gives a future at once, so that queries can be batched; look at replies as they come."""
    futures = [client.submit(DIGIT, task="digit-classification", slo_ms=500) for _ in range(200)]
    outcomes = Counter(future.result().outcome.value for future in client.as_completed(futures))
    print(f"200 at once: {dict(outcomes)}")


def refused(client: Client) -> None:
    """A requirement that nobody can meet is an answer, not an exception, unless you ask for one."""
    reply = client.ask(DIGIT, task="digit-classification", accuracy_min=1.0)
    try:
        reply.raise_for_outcome()
    except HeadraceError as error:
        print(f"{type(error).__name__}: {error}")


async def awaited(kafka: KafkaSettings) -> None:
    """The same with asyncio. A cancelled await forgets its query here."""
    async with AsyncClient(kafka) as client:
        replies = await asyncio.gather(*(client.ask(DIGIT, task="digit-classification") for _ in range(200)))
    print(f"200 awaited: {sum(reply.ok for reply in replies)} ok")


def main(kafka: KafkaSettings | None = None) -> None:
    kafka = kafka or KafkaSettings()  # reads KAFKA_BOOTSTRAP_SERVERS
    with Client(kafka) as client:  # one for the whole process; threads may share it
        one(client)
        many(client)
        refused(client)
    asyncio.run(awaited(kafka))


if __name__ == "__main__":
    main()
