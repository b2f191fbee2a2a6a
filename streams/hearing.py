"""Reading the fleet: what executors and routers say of themselves, by the list and for one thread at a time.

Through Faust a record costs 280 us, and its consumer is a thread that starves beside a busy loop; a fleet of 20
executors says something a thousand times a second (docs/decisions/0003). So the router too reads `fleet` like
`queries`: by librdkafka, a list at a time, for an agent on a channel.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
from confluent_kafka import Message

from streams.clock import wall_us
from streams.records import (
    PlannerReport,
    PoolReport,
    RouterReport,
    Telemetry,
    decode_planner,
    decode_pool,
    decode_router,
    decode_telemetry,
)
from streams.settings import KafkaSettings
from streams.tail import Tail

log = logging.getLogger(__name__)

Word = Telemetry | RouterReport | PoolReport | PlannerReport

ROUTER_KEY, POOL_KEY, PLANNER_KEY = b"router:", b"pool:", b"planner:"  # executors' keys are their names

_DECODERS: dict[bytes, Callable[[bytes], Word]] = {
    ROUTER_KEY: decode_router, POOL_KEY: decode_pool, PLANNER_KEY: decode_planner
}  # fmt: skip


class Hearing:
    """All of `fleet` from a moment ago on."""

    def __init__(self, kafka: KafkaSettings, *, back_ms: int) -> None:
        """Find the place to start. Raises: KafkaException if the cluster does not answer or lacks the topic."""
        self._tail = Tail(kafka, "fleet", since_ms=wall_us() // 1_000 - back_ms)

    def listen(self, wait_s: float = 0.0) -> list[Word]:
        """What came since the last call; waits so long for the first if there is none."""
        return [word for message in self._tail.listen(wait_s) if (word := _read(message)) is not None]

    def close(self) -> None:
        self._tail.close()


def _read(message: Message) -> Word | None:
    """A word, or None: what cannot be read is logged."""
    key, value = message.key() or b"", message.value() or b""
    name = key if isinstance(key, bytes) else key.encode()
    try:
        for begins, decode in _DECODERS.items():
            if name.startswith(begins):
                return decode(value)
        return decode_telemetry(value)
    except msgspec.MsgspecError as unreadable:
        log.warning("fleet record ignored", extra={"key": str(key), "error": str(unreadable)})
        return None
