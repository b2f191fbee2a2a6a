"""Boosted trees for each quantile and horizon, one model for all classes.

The target is sqrt(maximum) - sqrt(mean of the last minute): counts vary with the root of their mean, so what the trees
learn at one rate holds at another, and quantiles pass through the root unharmed.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from forecasting.expert import Ask, Role, Seen
from forecasting.features import NAMES, RECENT
from forecasting.forest import Forest, flatten
from forecasting.rows import Floats

LEAVES, LEAF_MIN = 15, 200
TREES, SHRINKAGE = 60, 12.0  # each learns SHRINKAGE / trees: 60 are within 1 % of 200, in a third of the time
ROWS_MIN = 2_000  # ten leaves' worth; below it there is nothing to learn
AGREE = 1e-4  # of a root of a rate, between the forest and what it was made from
_MEAN = NAMES.index("mean_60")


class Boosted(msgspec.Struct, frozen=True, kw_only=True, tag="boosted"):
    """`clock` says whether the trees look at the time of day; without it they are insurance against a wrong one."""

    horizons_s: tuple[int, ...]
    quantiles: tuple[float, ...]
    clock: bool
    forest: Forest
    role: Role = "grown"

    @property
    def name(self) -> str:
        return "boosted" if self.clock else "boosted, no clock"

    def predict(self, seen: Seen, ask: Ask) -> Floats:
        features = seen.features if self.clock else seen.features[:, : len(RECENT)]
        root = self.forest(features) + np.sqrt(seen.features[:, _MEAN])[:, None]
        found = np.maximum(0.0, root).reshape(-1, len(self.horizons_s), len(self.quantiles)) ** 2
        horizons = [self.horizons_s.index(h) for h in ask.horizons_s]
        quantiles = [self.quantiles.index(q) for q in ask.quantiles]
        return found[:, horizons][:, :, quantiles]


def fit(
    features: Floats,
    target: Floats,
    ask: Ask,
    *,
    clock: bool = True,
    trees: int = TREES,
    seed: int = 0,
    tell: Callable[[], None] = lambda: None,
) -> Boosted:
    """Shapes: `features` (n, f), `target` (n, H); nothing NaN. `tell` is called after each of H x Q models."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    design = features if clock else features[:, : len(RECENT)]
    base = np.sqrt(features[:, _MEAN])
    fitted = []
    for k in range(len(ask.horizons_s)):
        for quantile in ask.quantiles:
            model = HistGradientBoostingRegressor(
                loss="quantile", quantile=quantile, max_iter=trees, learning_rate=SHRINKAGE / trees,
                max_leaf_nodes=LEAVES, min_samples_leaf=LEAF_MIN, early_stopping=False, random_state=seed,
            )  # fmt: skip
            with threadpool_limits(
                limits=1
            ):  # OpenMP's threads spin for each other where cores are shared: 20 x slower
                fitted.append(model.fit(design, np.sqrt(target[:, k]) - base))
            tell()
    forest = flatten(fitted, features=design.shape[1])
    some = design[:: max(1, len(design) // 500)]
    wanted = np.stack([model.predict(some) for model in fitted], axis=1)
    assert float(np.abs(forest(some) - wanted).max()) < AGREE, "scikit-learn's trees are not what they were"
    return Boosted(horizons_s=ask.horizons_s, quantiles=ask.quantiles, clock=clock, forest=forest)
