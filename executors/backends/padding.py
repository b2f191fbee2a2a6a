"""Batches on a device run in a few fixed sizes: which ones, padding up to them, and what that makes of a profile.

Each new shape costs a device a search for kernels, a captured graph or a compilation of minutes, so a batch is padded
to the next size that exists. A padded batch takes as long as a full one, and a profile must say so: l(b) is a step.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from executors.backends.protocol import Array
from registry.latency import Point


def doubling(batch_max: int) -> tuple[int, ...]:
    """1, 2, 4 ... and `batch_max`: at most half of a padded batch is waste."""
    assert batch_max >= 1
    sizes = {batch_max}
    size = 1
    while size < batch_max:
        sizes.add(size)
        size *= 2
    return tuple(sorted(sizes))


def ends(batch_max: int) -> tuple[int, ...]:
    """1 and `batch_max`: where each size is compiled for minutes."""
    assert batch_max >= 1
    return tuple(sorted({1, batch_max}))


def size_for(count: int, sizes: Sequence[int]) -> int:
    """The smallest of the rising `sizes` that holds `count` items.

    Raises: AssertionError if none does: the executor never fires above a variant's cap.
    """
    assert count >= 1, "an empty batch"
    for size in sizes:
        if size >= count:
            return size
    raise AssertionError(f"a batch of {count} > {sizes[-1]}, the largest size there is")


def pad(batch: Array, size: int) -> Array:
    """`batch`, its last item repeated up to `size`: a real item, since zeros may be none (an empty text, a NaN norm).

    Shapes: (n, *item) -> (size, *item), n <= size; contiguous, and the same array where nothing is to do.
    """
    assert 1 <= len(batch) <= size
    if len(batch) == size:
        return np.ascontiguousarray(batch)
    padded = np.empty((size, *batch.shape[1:]), batch.dtype)
    padded[: len(batch)] = batch
    padded[len(batch) :] = batch[-1]
    return padded


def stepped(points: Sequence[Point], sizes: Sequence[int]) -> tuple[Point, ...]:
    """The points of a padded variant such that a curve drawn through them charges the padded time at every batch.

    A point of b was measured on the next size up, whatever b is. Each size gets a point at both ends of its range,
    with the figures of the largest batch measured in it; sizes that were not measured are left out.
    `throughput_qps` of the first end is what is left of it when the rest of the batch is padding.
    """
    largest = {size_for(point.batch, sizes): point for point in sorted(points, key=lambda p: p.batch)}
    made: dict[int, Point] = {}
    before = 0
    for size in sizes:
        if (point := largest.get(size)) is not None:
            for batch in (before + 1, size):
                rate_qps = round(point.throughput_qps * batch / point.batch, 3)
                made[batch] = msgspec.structs.replace(point, batch=batch, throughput_qps=rate_qps)
        before = size
    return tuple(made[batch] for batch in sorted(made))
