"""Ridge regression on the last hour in several resolutions; quantiles from the residuals of the training rows."""

from __future__ import annotations

import msgspec
import numpy as np

from forecasting.expert import Ask, Role, Seen
from forecasting.features import NAMES, RECENT
from forecasting.rows import Floats

PENALTY = 10.0  # of standardised coefficients; 1 to 100 differ by less than 1 %
USED = np.array([NAMES.index(name) for name in RECENT if not name.startswith("since_")])
LEVELS = np.linspace(0.005, 0.995, 199)


class Ridge(msgspec.Struct, frozen=True, kw_only=True, tag="ridge"):
    """Shapes: `weights` (H, k + 1), the last one the constant; `residuals` (H, 199), at LEVELS, in sqrt(level)s."""

    horizons_s: tuple[int, ...]
    weights: Floats
    residuals: Floats
    name: str = "ridge AR"
    role: Role = "grown"

    def predict(self, seen: Seen, ask: Ask) -> Floats:
        which = [self.horizons_s.index(h) for h in ask.horizons_s]
        design = seen.features[:, USED]
        middle = design @ self.weights[which, :-1].T + self.weights[which, -1]
        out = np.stack([np.interp(ask.quantiles, LEVELS, self.residuals[k]) for k in which])
        found: Floats = np.maximum(0.0, middle[:, :, None] + np.sqrt(seen.level)[:, None, None] * out)
        return found


def fit(features: Floats, level: Floats, target: Floats, ask: Ask) -> Ridge:
    """Shapes: `features` (n, f), `level` (n,), `target` (n, H); nothing NaN, n >= 1."""
    design = features[:, USED]
    mean, scale = design.mean(0), design.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    standard = (design - mean) / scale
    gram = standard.T @ standard + PENALTY * np.eye(len(USED))
    beta = np.linalg.solve(gram, standard.T @ (target - target.mean(0))) / scale[:, None]
    constant = target.mean(0) - mean @ beta
    residual = (target - design @ beta - constant) / np.sqrt(level)[:, None]
    return Ridge(
        horizons_s=ask.horizons_s,
        weights=np.concatenate((beta.T, constant[:, None]), axis=1),
        residuals=np.quantile(residual, LEVELS, axis=0).T,
    )
