"""The maximum of H independent negative binomial counts, from the last minute alone: for classes without a history.

The q quantile of the maximum is the q^(1/H) quantile of one count. Mean: half that of 20 s, half that of 60 s;
variance: the last minute's dispersion times the mean, never less than a Poisson count's. A minute in which the load
jumped is not one level, and its variance is the jump's: then the last 20 s count alone.
"""

from __future__ import annotations

import msgspec
import numpy as np

from forecasting.expert import Ask, Role, Seen
from forecasting.features import NAMES
from forecasting.rows import Floats

DISPERSION_MIN, DISPERSION_MAX = 1.02, 50.0
JUMPED = 3.0  # standard deviations of a mean of 20 s, from which it is another level than the minute's
_MEAN_20, _MEAN_60, _DISPERSION, _SD_20 = (
    NAMES.index(name) for name in ("mean_20", "mean_60", "dispersion_60", "sd_20")
)


class NegativeBinomial(msgspec.Struct, frozen=True, tag="negbin"):
    name: str = "negative binomial"
    role: Role = "young"

    def predict(self, seen: Seen, ask: Ask) -> Floats:
        from scipy.special import nbdtrik

        mean, ratio = _level(seen.features)
        p = (1.0 / ratio)[:, None, None]
        n = (np.maximum(mean, 1e-9) / (ratio - 1.0))[:, None, None]
        level = np.array(ask.quantiles)[None, None, :] ** (1.0 / np.array(ask.horizons_s))[None, :, None]
        found = np.ceil(nbdtrik(level, n, p) - 1e-9)
        return np.where(mean[:, None, None] > 0, np.maximum(0.0, np.nan_to_num(found)), 0.0)


def _level(features: Floats) -> tuple[Floats, Floats]:
    """Mean and dispersion of one second's count; shapes (n,)."""
    short, long = features[:, _MEAN_20], features[:, _MEAN_60]
    minute = features[:, _DISPERSION]
    lately = np.minimum(minute, features[:, _SD_20] ** 2 / np.maximum(short, 1e-9))
    deviation = np.sqrt(np.maximum(short, long) * np.maximum(DISPERSION_MIN, lately) / 20)
    jumped = np.abs(short - long) > JUMPED * deviation
    mean = np.where(jumped, short, 0.5 * short + 0.5 * long)
    return mean, np.clip(np.where(jumped, lately, minute), DISPERSION_MIN, DISPERSION_MAX)
