"""The router's shell, without a broker: what stands in the decision that travels with a query."""

from __future__ import annotations

from typing import Any, cast

from confluent_kafka import Message

from agents.metrics import RouterMetrics
from agents.router import Router, Waiting
from agents.settings import RouterSettings
from streams.bulk import Bulk
from streams.clock import wall_us
from streams.contract import INTERNAL
from streams.outbox import Headers, Outbox
from streams.prefix import Prefix
from streams.reader import Taken
from streams.records import Dispatch, decode_dispatch
from streams.settings import KafkaSettings
from streams.terminal import Terminal
from tests.agents import builders


class Record:
    """A record of `queries` as the consumer gives it."""

    def headers(self) -> list[tuple[str, bytes]]:
        return [("task", b"t"), ("query-id", b"twice")]

    def timestamp(self) -> tuple[int, int]:
        return 1, wall_us() // 1_000

    def value(self) -> bytes:
        return b"{}"

    def key(self) -> None:
        return None


class Sent:
    """Keeps the headers of what is sent."""

    def __init__(self) -> None:
        self.headers: list[Headers] = []

    def send(self, _topic: str, _value: bytes | None, *, headers: Headers, **_: object) -> None:
        self.headers.append(headers)


def routed(*partitions: int) -> list[Dispatch]:
    """The decisions on one query from each of these partitions."""
    selector, fleet = builders.router()
    fleet.heard(builders.telemetry("e", *(name for name, *_ in builders.MENU)), now_us=wall_us())
    kafka, sent = KafkaSettings(), Sent()
    outbox = cast("Outbox", sent)
    router = Router(
        RouterSettings(decisions=0.0), kafka, selector=selector, outbox=outbox, together=outbox,
        bulk=cast("Bulk[Waiting]", None),
        terminal=Terminal(outbox, kafka), metrics=RouterMetrics(), finish=lambda _prefix, _offset: None,
        defer=lambda call, *args: call(*args),
    )  # fmt: skip
    record: Any = Record()
    router.route([Taken(cast("Message", record), Prefix(p, fence=0), 0, False) for p in partitions])
    return [decode_dispatch(cast("bytes", dict(headers)[INTERNAL])) for headers in sent.headers]


def test_decision_says_which_partition_the_query_came_from() -> None:
    """An executor tells a repeated id from another client's equal one by it, also where records have no key."""
    decisions = routed(3, 5)

    assert [(each.query_id, each.origin) for each in decisions] == [("twice", 3), ("twice", 5)]
