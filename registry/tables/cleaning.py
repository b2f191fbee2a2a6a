"""What is done to other people's measurements before anything is decided by them, and the list of it.

A table that flatters batching, hides failures among its latencies or has no load times makes any optimiser look
clever. Every row that is dropped or changed is listed with the rule, for the user to see.
"""

from __future__ import annotations

import msgspec

from registry.tables.curve import Curve

Points = dict[int, tuple[float, float]]  # batch -> p50 ms, p99 ms

OUTLIER = 3.0  # times the time that so many single items take
FLAT, FLAT_BATCH = 2.0, 8  # a batch of eight or more that takes less than twice as long as one item


class Cleaning(msgspec.Struct):
    """One rule, and the rows of one table that it concerned."""

    table: str
    rule: str
    rows: list[str] = []


class Table(msgspec.Struct):
    """What a reader makes of one file."""

    name: str
    curves: list[Curve] = []
    cleaned: dict[str, Cleaning] = {}

    def clean(self, rule: str, row: str) -> None:
        """Note that `rule` was applied to `row`."""
        self.cleaned.setdefault(rule, Cleaning(table=self.name, rule=rule)).rows.append(row)


def without_outliers(points: Points, row: str, table: Table) -> Points:
    """Drop batches that take far longer than their items one by one: swapping, or a hiccup of the machine."""
    if not points:
        return points
    least = min(points)
    single_ms = points[least][0] / least
    kept = {}
    for batch, (p50, p99) in points.items():
        if batch > least and max(p50, p99) > OUTLIER * batch * single_ms:
            table.clean(
                f"dropped: longer than {OUTLIER:g} times as many single items", f"{row} b{batch} {max(p50, p99):.0f} ms"
            )
        else:
            kept[batch] = (p50, p99)
    return kept


def without_flat_batching(points: Points, row: str, table: Table) -> Points:
    """Keep only the single item where a batch hardly costs more than one: the batch was not run as one."""
    least, most = min(points), max(points)
    if most >= FLAT_BATCH and points[most][0] < FLAT * points[least][0]:
        table.clean(
            f"only batch {least} kept: b{FLAT_BATCH} or more takes less than {FLAT:g} times as long as one item",
            f"{row} b{most} x {points[most][0] / points[least][0]:.2f}",
        )
        return {least: points[least]}
    return points
