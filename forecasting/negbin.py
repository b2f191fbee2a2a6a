"""The maximum of H independent negative binomial counts, from the last minute alone: for classes without a history.

The q quantile of the maximum is the q^(1/H) quantile of one count. Mean: half that of 20 s, half that of 60 s;
variance: the last minute's dispersion times the mean, never less than a Poisson count's.
"""

from __future__ import annotations

import msgspec
import numpy as np

from forecasting.expert import Ask, Role, Seen
from forecasting.features import NAMES
from forecasting.rows import Floats

DISPERSION_MIN, DISPERSION_MAX = 1.02, 50.0
_MEAN_20, _MEAN_60, _DISPERSION = (NAMES.index(name) for name in ("mean_20", "mean_60", "dispersion_60"))


class NegativeBinomial(msgspec.Struct, frozen=True, tag="negbin"):
    name: str = "negative binomial"
    role: Role = "young"

    def predict(self, seen: Seen, ask: Ask) -> Floats:
        from scipy.special import nbdtrik

        mean = 0.5 * seen.features[:, _MEAN_20] + 0.5 * seen.features[:, _MEAN_60]
        ratio = np.clip(seen.features[:, _DISPERSION], DISPERSION_MIN, DISPERSION_MAX)
        p = (1.0 / ratio)[:, None, None]
        n = (np.maximum(mean, 1e-9) / (ratio - 1.0))[:, None, None]
        level = np.array(ask.quantiles)[None, None, :] ** (1.0 / np.array(ask.horizons_s))[None, :, None]
        found = np.ceil(nbdtrik(level, n, p) - 1e-9)
        return np.where(mean[:, None, None] > 0, np.maximum(0.0, np.nan_to_num(found)), 0.0)
