"""One query inside the executor's shell, from its record to the broker's word on its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from confluent_kafka import KafkaError, Message

from streams.errors import HeadraceError
from streams.prefix import Prefix
from streams.records import Dispatch


class Ending(Protocol):
    """Who hears how an answer fared."""

    @property
    def finish(self) -> Callable[[Prefix, int], None]:
        """To be called once the broker has the answer."""

    def refused(self, held: Held, error: KafkaError) -> None:
        """The broker refused the answer, or may not have it. Called in the middle of a producer's bookkeeping."""


class Held(msgspec.Struct, gc=False):
    """The record, where its offset is finished, the decision, and its decoded item.

    It is its own delivery callback: a closure for each query would cost more than what it does.
    """

    message: Message
    prefix: Prefix
    offset: int
    dispatch: Dispatch
    marked: bool
    by: Ending | None = None
    failed: bool = False  # the answer of its own was refused; another goes on with it
    item: Any = None
    error: HeadraceError | None = None
    ended: Any = None  # how it was answered (answering.py), in case that must be said again

    def __call__(self, error: KafkaError | None, _message: Message | None) -> None:
        assert self.by is not None
        if error is None:
            self.by.finish(self.prefix, self.offset)
        else:
            self.failed = True
            self.by.refused(self, error)
