"""Which forecaster is believed, class by class and horizon by horizon, and how far its quantiles are moved.

Every forecast is kept until its horizon is over and then compared with what came. Each expert's pinball loss fades
with a half-life; experts count by exp(-20 (loss / least - 1)). To the mixture a correction is added that rises after a
miss and falls after a hit so that the share of misses becomes 1 - q (quantile tracking: Angelopoulos et al., 2023).
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from forecasting.expert import Ask
from forecasting.rows import Floats

HALF_LIFE_S = 7_200.0
SHARPNESS = 20.0
GAIN_PER_S = 0.001  # .01 at the 10 s steps that it was tuned at
SHIFT_MIN, SHIFT_MAX = -1.5, 4.0  # in roots of the level
LEAST = 1e-9  # of a mean loss: where nothing ever errs, all are equal
PRIOR_WEIGHT = 30.0  # forecasts; until about as many were scored, experts count by their usual rank


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast that is not over.

    Shapes: `experts` (K, n, H, Q), NaN where one is not in use; `out` (n, H, Q); `level` (n,).
    """

    second: int
    experts: Floats
    out: Floats
    level: Floats


class Online(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes: K experts, n classes, H horizons, Q quantiles. `loss` (K, n, H, Q) and `weight` (K, n, H) of faded sums;
    `shift` (n, H, Q); `own_loss` and `covered` (n, H, Q) of what was published, over `own_weight` (n, H).
    """

    loss: Floats
    weight: Floats
    shift: Floats
    own_loss: Floats
    covered: Floats
    own_weight: Floats


def begin(experts: int, classes: int, ask: Ask) -> Online:
    """Nothing is known of anything."""
    h, q = ask.shape
    return Online(
        loss=np.zeros((experts, classes, h, q)), weight=np.zeros((experts, classes, h)),
        shift=np.zeros((classes, h, q)), own_loss=np.zeros((classes, h, q)),
        covered=np.zeros((classes, h, q)), own_weight=np.zeros((classes, h)),
    )  # fmt: skip


def mix(state: Online, experts: Floats, level: Floats, rank: Floats) -> Floats:
    """The published quantiles, which rise with q.

    Shapes: `experts` (K, n, H, Q), NaN where an expert is not used; `level` (n,); `rank` (K,): usual losses, up to a
            factor. Returns (n, H, Q).
    Raises: AssertionError if no expert is used for some class.
    """
    used = np.isfinite(experts)
    assert used.any(0).all(), "a class without a forecaster"
    weight = state.weight[..., None]
    scored = used & (weight > 0)
    mean = np.where(scored, state.loss / np.maximum(weight, LEAST), np.inf)
    least = np.maximum(LEAST, mean.min(0))
    ratio = np.where(scored, np.maximum(LEAST, np.where(scored, mean, 0.0)) / np.where(scored, least, 1.0), 1.0)
    usual = np.where(used, rank[:, None, None, None], np.inf)
    usual = np.where(used, usual / usual.min(0), 1.0)
    score = np.where(used, (weight * ratio + PRIOR_WEIGHT * usual) / (weight + PRIOR_WEIGHT), np.inf)
    trust = np.exp(-SHARPNESS * (score / score.min(0) - 1.0))
    mixed = (trust * np.where(used, experts, 0.0)).sum(0) / trust.sum(0)
    shift = np.clip(state.shift, SHIFT_MIN, SHIFT_MAX) * np.sqrt(level)[:, None, None]
    return np.maximum.accumulate(np.maximum(0.0, mixed + shift), axis=2)


def score(state: Online, of: Pending, horizon: int, actual: Floats, ask: Ask, *, step_s: float) -> Online:
    """After the horizon numbered `horizon` of a forecast is over; forecasts are scored `step_s` apart.

    Shapes: `actual` (n,): what came; NaN (a hole, a class that was not there) teaches nothing.
    """
    quantiles = np.array(ask.quantiles)
    fade = 0.5 ** (step_s / HALF_LIFE_S)
    experts, out = of.experts[:, :, horizon], of.out[:, horizon]
    learns = np.isfinite(actual) & np.isfinite(out).all(1)
    error = np.where(learns, actual, 0.0)[:, None] - np.where(np.isfinite(out), out, 0.0)
    loss, weight = state.loss.copy(), state.weight.copy()
    both = learns[None, :] & np.isfinite(experts).all(2)
    missed_by = np.where(both[..., None], actual[None, :, None] - experts, 0.0)
    lost = pinball(missed_by, quantiles) / of.level[None, :, None]
    loss[:, :, horizon] = np.where(both[..., None], fade * loss[:, :, horizon] + lost, loss[:, :, horizon])
    weight[:, :, horizon] = np.where(both, fade * weight[:, :, horizon] + 1.0, weight[:, :, horizon])
    shift, own, covered, count = (
        part.copy() for part in (state.shift, state.own_loss, state.covered, state.own_weight)
    )  # fmt: skip
    rows = learns[:, None]
    moved = shift[:, horizon] + GAIN_PER_S * step_s * ((error > 0) - (1.0 - quantiles))
    shift[:, horizon] = np.where(rows, np.clip(moved, SHIFT_MIN, SHIFT_MAX), shift[:, horizon])
    own[:, horizon] = np.where(
        rows, fade * own[:, horizon] + pinball(error, quantiles) / of.level[:, None], own[:, horizon]
    )  # fmt: skip
    covered[:, horizon] = np.where(rows, fade * covered[:, horizon] + (error <= 0), covered[:, horizon])
    count[:, horizon] = np.where(learns, fade * count[:, horizon] + 1.0, count[:, horizon])
    return Online(loss=loss, weight=weight, shift=shift, own_loss=own, covered=covered, own_weight=count)


def pinball(error: Floats, quantiles: npt.NDArray[np.float64]) -> Floats:
    """The loss that the q quantile minimises; `error` is actual - forecast. Shapes: (..., Q)."""
    return np.maximum(quantiles * error, (quantiles - 1.0) * error)
