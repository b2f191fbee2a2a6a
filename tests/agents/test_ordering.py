"""What stands on `scaling`: newest epochs, what is on its way, and orders that were written too late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.ordering import BACK_US, Standing, executor_order
from streams.scaling import Order, PoolOrder


def pool(machines: int, epoch: int) -> PoolOrder:
    return PoolOrder(pool="cpu", epoch=epoch, machines=machines)


def test_standing_changes_are_only_what_differs() -> None:
    """`e1` holds what it should, `e2` another count, `e3` has no order."""
    standing = Standing()
    for order in (executor_order("e1", {"a": 1}, epoch=3), executor_order("e2", {"a": 1}, epoch=4), pool(2, 4)):
        standing.read(order.key, order)

    made = standing.changes(
        {"e1": {"a": 1}, "e2": {"a": 2}, "e3": {}}, {"cpu": (2, ())}, epoch=9, now_us=0
    )  # fmt: skip

    assert [order.key for order in made] == ["executor:e2", "executor:e3"]
    assert {order.epoch for order in made} == {9}
    assert standing.epoch == 4


def test_standing_what_was_sent_counts_until_it_is_lost() -> None:
    """Not sent twice while it is on its way; sent again when it does not come back."""
    standing = Standing()
    order = executor_order("e1", {"a": 1}, epoch=1)
    standing.sent(order, now_us=0)

    assert standing.changes({"e1": {"a": 1}}, {}, epoch=2, now_us=BACK_US - 1) == []
    assert standing.lanes("e1", now_us=BACK_US - 1) == {"a": 1}
    assert [o.epoch for o in standing.changes({"e1": {"a": 1}}, {}, epoch=2, now_us=BACK_US)] == [2]
    assert standing.lanes("e1", now_us=BACK_US) is None


def test_standing_an_older_order_written_later_is_written_over() -> None:
    """The topic keeps the last record: an executor that starts would follow the older one."""
    standing = Standing()
    standing.read("pool:cpu", pool(4, 10))
    standing.read("pool:cpu", pool(1, 7))

    made = standing.changes({}, {"cpu": (4, ())}, epoch=11, now_us=0)

    assert made == [pool(4, 11)]
    standing.sent(made[0], now_us=0)
    assert standing.changes({}, {"cpu": (4, ())}, epoch=12, now_us=1) == []


def test_standing_a_deletion_frees_the_key() -> None:
    """By somebody else, or by us."""
    standing = Standing()
    standing.read("executor:e1", executor_order("e1", {}, epoch=1))
    assert standing.executors == {"e1"}
    standing.read("executor:e1", None)
    assert standing.executors == set()
    standing.sent(executor_order("e2", {}, epoch=2), now_us=0)
    standing.deleted("executor:e2")
    assert standing.now(now_us=1) == {}


@given(st.lists(st.tuples(st.sampled_from(["e1", "e2"]), st.integers(1, 9), st.integers(1, 3)), max_size=20))
def test_standing_holds_the_highest_epoch_of_each_key(records: list[tuple[str, int, int]]) -> None:
    """Of equal epochs the later one; and a key is overwritten only while its last record is not that."""
    standing = Standing()
    best: dict[str, Order] = {}
    last: dict[str, int] = {}
    for name, epoch, lanes in records:
        order = executor_order(name, {"v": lanes}, epoch=epoch)
        standing.read(order.key, order)
        if order.key not in best or epoch >= best[order.key].epoch:
            best[order.key] = order
        last[order.key] = epoch

    assert standing.now(now_us=0) == best
    wanted = {name: standing.lanes(name, now_us=0) or {} for name in ("e1", "e2") if f"executor:{name}" in best}
    again = {order.key for order in standing.changes(wanted, {}, epoch=10, now_us=0)}
    assert again == {key for key, epoch in last.items() if epoch < best[key].epoch}


def test_standing_who_left_need_not_be_ordered_to_have_left() -> None:
    """The same number of machines without names is no news; other names are."""
    standing = Standing()
    standing.read("pool:cpu", PoolOrder(pool="cpu", epoch=3, machines=2, leaving=("cpu-3",)))

    assert standing.changes({}, {"cpu": (2, ())}, epoch=4, now_us=0) == []
    assert len(standing.changes({}, {"cpu": (2, ("cpu-1",))}, epoch=4, now_us=0)) == 1
