"""The order that this executor was given last, from the topic `scaling`."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from streams.errors import Unreachable
from streams.follow import Follow
from streams.scaling import ExecutorOrder, decode_order
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

KNOWN_S = 5.0  # for the orders given before this process was there


class Orders(Follow):
    """Keeps the order with the highest epoch for one executor; a deletion takes it back, whatever its epoch.

    changed: called in this thread when there is another one.
    """

    def __init__(self, kafka: KafkaSettings, executor: str, changed: Callable[[], None]) -> None:
        super().__init__(kafka, "scaling", apply=self._apply, changed=self._tell)
        self.order: ExecutorOrder | None = None
        self.stale = 0  # orders that came after a newer one
        self.unreadable = 0
        self._key = f"executor:{executor}"
        self._changed = changed
        self._news = False

    @property
    def epoch(self) -> int:
        order = self.order
        return 0 if order is None else order.epoch

    def known(self) -> None:
        """Wait for the order that stands; without an answer go on as the settings say, until it comes."""
        try:
            self.caught_up(KNOWN_S)
        except Unreachable as silent:
            log.warning("orders not read yet, loading as configured", extra={"error": silent.message})

    def _apply(self, name: str, value: bytes | None) -> None:
        if name != self._key:
            return
        if value is None:
            self.order, self._news = None, True
            return
        try:
            order = decode_order(value)
        except msgspec.MsgspecError as unreadable:
            self.unreadable += 1
            log.warning("order ignored", extra={"key": name, "error": str(unreadable)})
            return
        if not isinstance(order, ExecutorOrder) or order.key != self._key:
            self.unreadable += 1
            log.warning("order ignored", extra={"key": name, "error": f"it is for {order.key}"})
        elif order.epoch < self.epoch:
            self.stale += 1
        elif order != self.order:
            self.order, self._news = order, True

    def _tell(self) -> None:
        if self._news:
            self._news = False
            self._changed()
