"""Many boosted trees as a few arrays, evaluated without recursion and without scikit-learn.

A row passes every inner node of every tree at once. Where it goes right, the leaves on the node's left are ruled out,
a bit a leaf; of the leaves that are left, the first is the tree's answer (QuickScorer, Lucchese et al., SIGIR 2015).
Features are replaced by how many thresholds of all the trees lie below them: one byte instead of eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from forecasting.rows import Floats

LEAVES_MAX = 16  # bits of a mask
BINS_MAX = 256  # values of a byte


class Forest(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes: S inner nodes a tree at most, T trees, O outputs with T / O trees each, in order.

    `node_feature`, `node_bin`, `node_mask` (S, T): a row goes right where its bin is above `node_bin`, and then only
    the leaves of `node_mask` remain; padded with nodes that change nothing. `leaf` (T, 16). `base` (O,).
    `edges` (e,) are the thresholds of all features, rising within each; those of feature f are
    `edges[start[f]:start[f + 1]]`.
    """

    node_feature: npt.NDArray[np.intp]
    node_bin: npt.NDArray[np.uint8]
    node_mask: npt.NDArray[np.uint16]
    leaf: npt.NDArray[np.float32]
    base: Floats
    edges: Floats
    start: npt.NDArray[np.int64]

    def __call__(self, features: Floats) -> Floats:
        """Shapes: `features` (n, f) without NaN, the result (n, O)."""
        bins = self._bins(features)
        alive = np.full((self.leaf.shape[0], len(features)), 0xFFFF, dtype=np.uint16)
        for feature, node_bin, mask in zip(self.node_feature, self.node_bin, self.node_mask, strict=True):
            right = bins[feature] > node_bin[:, None]
            left = right.view(np.uint8) + _ALL_ON  # wraps to 0 where right
            left |= mask[:, None]
            alive &= left
        place = _FIRST_BIT[alive] + np.arange(0, self.leaf.size, LEAVES_MAX, dtype=np.int32)[:, None]
        found = self.leaf.ravel().take(place)
        grown = found.reshape(len(self.base), -1 if found.size else 0, len(features)).sum(1, dtype=np.float64)
        out: Floats = self.base + grown.T
        return out

    def _bins(self, features: Floats) -> npt.NDArray[np.uint8]:
        """Shapes: (f, n)."""
        bins = np.empty((features.shape[1], len(features)), dtype=np.uint8)
        columns = np.ascontiguousarray(features.T)
        for f in range(len(columns)):
            bins[f] = np.searchsorted(self.edges[self.start[f] : self.start[f + 1]], columns[f], side="left")
        return bins


_ALL_ON = np.uint16(0xFFFF)
_FIRST_BIT = np.array([(n & -n).bit_length() - 1 if n else 0 for n in range(1 << LEAVES_MAX)], dtype=np.uint8)


def flatten(fitted: Sequence[Any], *, features: int) -> Forest:
    """Of `HistGradientBoostingRegressor`s that were fitted on the same rows, one an output, without missing values.

    It reads private attributes of scikit-learn, so `boosted.fit` compares the result with what the original predicts.

    Raises: AssertionError on more than 16 leaves a tree or 255 thresholds a feature.
    """
    trees = [predictors[0].nodes for model in fitted for predictors in model._predictors]  # noqa: SLF001
    per = {len(model._predictors) for model in fitted}  # noqa: SLF001
    assert len(per) == 1, "outputs of unlike length"
    inner = [nodes[nodes["is_leaf"] == 0] for nodes in trees]
    edges = [
        np.unique(np.concatenate([nodes["num_threshold"][nodes["feature_idx"] == f] for nodes in inner]))
        for f in range(features)
    ]
    assert max(len(some) for some in edges) < BINS_MAX, "too many thresholds of one feature"
    deep = max(1, *(len(nodes) for nodes in inner))
    feature = np.zeros((deep, len(trees)), dtype=np.intp)
    node_bin = np.full((deep, len(trees)), BINS_MAX - 1, dtype=np.uint8)  # nothing is above it
    mask = np.full((deep, len(trees)), 0xFFFF, dtype=np.uint16)
    leaf = np.zeros((len(trees), LEAVES_MAX), dtype=np.float32)
    for t, nodes in enumerate(trees):
        values: list[float] = []
        slot = 0
        todo: list[tuple[int, int | None]] = [(0, None)]  # node, and the slot whose left subtree ends before it
        left_of: dict[int, int] = {}
        while todo:  # in order, so that leaves are numbered from left to right
            index, after = todo.pop()
            if after is not None:
                mask[after, t] = ~(((1 << len(values)) - 1) & ~((1 << left_of[after]) - 1)) & 0xFFFF
            node = nodes[index]
            if node["is_leaf"]:
                values.append(float(node["value"]))
                continue
            f = int(node["feature_idx"])
            feature[slot, t] = f
            node_bin[slot, t] = np.searchsorted(edges[f], node["num_threshold"])
            left_of[slot] = len(values)
            todo += [(int(node["right"]), slot), (int(node["left"]), None)]
            slot += 1
        assert len(values) <= LEAVES_MAX, f"{len(values)} leaves"
        leaf[t, : len(values)] = values
    return Forest(
        node_feature=feature, node_bin=node_bin, node_mask=mask, leaf=leaf,
        base=np.array([float(np.ravel(model._baseline_prediction)[0]) for model in fitted]),  # noqa: SLF001
        edges=np.concatenate(edges), start=np.cumsum([0, *(len(some) for some in edges)]),
    )  # fmt: skip
