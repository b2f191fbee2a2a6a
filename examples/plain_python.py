"""Ask Headrace with nothing but confluent-kafka: produce a query, read its answer.

    headrace up                                    # prints KAFKA_BOOTSTRAP_SERVERS for the next line
    python examples/plain_python.py

The whole contract is in docs/contract.md; any Kafka client in any language can do what this one does.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

WAIT_S = 15.0  # the deadline of the query, 6 s in which another executor may take over, and a margin


def ask(bootstrap: str, value: bytes, wanted: dict[str, str], prefix: str = "headrace.") -> tuple[str, Any]:
    """One query and its answer: the outcome, and the JSON that came with it."""
    # 1. Listen before asking. Take one partition of `results` from the end that it has now; no consumer group is
    #    needed. Other clients may listen there too: the correlation id tells whose answer it is.
    results = prefix + "results"
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False})
    partition = max(consumer.list_topics(results, timeout=10).topics[results].partitions)
    _, end = consumer.get_watermark_offsets(TopicPartition(results, partition), timeout=10)
    consumer.assign([TopicPartition(results, partition, end)])

    # 2. Ask. What is wanted stands in headers, the payload is the value, untouched.
    mine = uuid.uuid4().bytes
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    producer.produce(
        prefix + "queries", value, headers={**wanted, "reply-partition": str(partition), "correlation-id": mine}
    )
    if producer.flush(10) > 0:
        sys.exit(f"no Kafka at {bootstrap}")

    # 3. Wait for the answer. The first one counts; a later copy of it would say `duplicate: true`.
    give_up = time.monotonic() + WAIT_S
    while time.monotonic() < give_up:
        message = consumer.poll(0.5)
        if message is None or message.error():
            continue
        headers: dict[str, Any] = dict(message.headers() or [])
        if headers.get("correlation-id") == mine:
            consumer.close()
            return headers["outcome"].decode(), json.loads(message.value() or b"{}")
    sys.exit(f"no answer within {WAIT_S:g} s: is a router running? (headrace status)")


def main() -> None:
    # A bright bar, as 8 x 8 grey values from 0 to 16, in the Open Inference Protocol: a rather plain "1".
    bar = [[0, 0, 0, 16, 16, 0, 0, 0]] * 8
    query = {"inputs": [{"name": "digit", "shape": [8, 8], "datatype": "FP32", "data": bar}]}
    wanted = {
        "task": "digit-classification",  # or "model", or "variant"
        "slo-ms": "500",  # answered by then, or `expired`
        "accuracy-min": "0.95",  # by a variant at least as good, or `rejected`
        "content-type": "application/json",
    }
    outcome, answer = ask(os.environ["KAFKA_BOOTSTRAP_SERVERS"], json.dumps(query).encode(), wanted)
    print(outcome)
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
