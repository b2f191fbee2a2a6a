"""What stands on `scaling`: the newest order of each key, however late it is read back. Pure.

A planner that was away may write an old order after a newer one. Who reads both ignores it, but the topic keeps the
last record of a key: so such a key is written again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streams.scaling import ExecutorOrder, LaneOrder, Order, PoolOrder

BACK_US = 5_000_000  # an order of ours that is not read back within this is lost, and sent again
KEYS_MAX = 100_000


class Standing:
    """Orders by key; at most KEYS_MAX of them, further keys are not kept (nor, then, seen as ordered)."""

    def __init__(self) -> None:
        self.epoch = 0  # the highest that was seen
        self._orders: dict[str, Order] = {}
        self._sent: dict[str, tuple[Order, int]] = {}
        self._overwritten: set[str] = set()

    def read(self, key: str, order: Order | None) -> None:
        """A record of the topic; None is a deletion."""
        sent = self._sent.get(key)
        if order is None:
            self._orders.pop(key, None)
            self._overwritten.discard(key)
            return
        self.epoch = max(self.epoch, order.epoch)
        if sent is not None and order.epoch >= sent[0].epoch:
            del self._sent[key]
        known = self._orders.get(key)
        if known is not None and order.epoch < known.epoch:
            self._overwritten.add(key)
        elif known is not None or len(self._orders) < KEYS_MAX:
            self._orders[key] = order
            self._overwritten.discard(key)

    def sent(self, order: Order, *, now_us: int) -> None:
        """Ours, on its way; it counts until it is read back, or BACK_US have passed."""
        self.epoch = max(self.epoch, order.epoch)
        self._sent[order.key] = order, now_us
        self._overwritten.discard(order.key)

    def deleted(self, key: str) -> None:
        """Ours, too."""
        for each in (self._orders, self._sent):
            each.pop(key, None)
        self._overwritten.discard(key)

    def now(self, *, now_us: int) -> dict[str, Order]:
        """What holds, with what is on its way."""
        self._sent = {key: (order, at) for key, (order, at) in self._sent.items() if now_us - at < BACK_US}
        return self._orders | {key: order for key, (order, _) in self._sent.items()}

    @property
    def executors(self) -> set[str]:
        """Those with an order."""
        return {order.executor for order in self._orders.values() if isinstance(order, ExecutorOrder)}

    def lanes(self, executor: str, *, now_us: int) -> dict[str, int] | None:
        """What an executor is ordered to hold; None without an order."""
        order = self.now(now_us=now_us).get(f"executor:{executor}")
        return {lane.variant: lane.lanes for lane in order.lanes} if isinstance(order, ExecutorOrder) else None

    def changes(
        self,
        hosts: Mapping[str, Mapping[str, int]],
        pools: Mapping[str, tuple[int, tuple[str, ...]]],
        *,
        epoch: int,
        now_us: int,
    ) -> list[Order]:
        """Orders for what does not stand as wanted: `hosts` lanes by executor, `pools` (machines, who leaves first)."""
        wanted: Iterable[Order] = [
            *(executor_order(name, held, epoch=epoch) for name, held in sorted(hosts.items())),
            *(
                PoolOrder(pool=name, epoch=epoch, machines=machines, leaving=leaving)
                for name, (machines, leaving) in sorted(pools.items())
            ),
        ]
        now = self.now(now_us=now_us)
        return [order for order in wanted if order.key in self._overwritten or not _same(order, now.get(order.key))]


def executor_order(name: str, held: Mapping[str, int], *, epoch: int) -> ExecutorOrder:
    """Lanes by variant, as an order; none of what has no lanes."""
    lanes = tuple(LaneOrder(variant=variant, lanes=lanes) for variant, lanes in sorted(held.items()) if lanes)
    return ExecutorOrder(executor=name, epoch=epoch, lanes=lanes)


def _same(order: Order, other: Order | None) -> bool:
    if isinstance(order, ExecutorOrder):
        return isinstance(other, ExecutorOrder) and other.lanes == order.lanes
    if not isinstance(other, PoolOrder) or other.machines != order.machines:
        return False
    return set(order.leaving) <= set(other.leaving)  # who left needs no order to have left
