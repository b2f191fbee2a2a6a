"""Fitting the models that learn, on whole series. Minutes of one core: never on an event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from forecasting import boosted, holt, lstm_training, ridge
from forecasting.boosted import ROWS_MIN
from forecasting.expert import Ask, Seen
from forecasting.forecaster import BASIC, GROWN_S, AnyExpert, Models, untrained
from forecasting.rows import Floats, Series, maxima, rows

STEP_S = 10
ROWS_MAX = 100_000  # drawn at random beyond; a fit takes 2 to 4 s a model then
TREES, TREES_SPARE = boosted.TREES, 30  # the model without the clock is insurance: it should cost little
WARM_S = 3_600  # before that the features have no hour to look at
CHUNK = 2_000  # rows at once: 29 MB of windows
POOLED_LOW = 5.0  # percentile of the levels of the training
RANKS = {"boosted": 1.0, "boosted, no clock": 1.2, "ridge AR": 1.4}

Tell = Callable[[], None]


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """Rows to fit on. Shapes: `features` (n, f), `level` (n,), `target` (n, H); nothing NaN."""

    features: Floats
    level: Floats
    target: Floats

    def __len__(self) -> int:
        return len(self.level)


def fits(models: Ask, *, clock: bool = True) -> int:
    """How often `train` calls `tell`."""
    return len(models.horizons_s) * len(models.quantiles) * (1 + clock)


def gather(series: Mapping[str, Series], ask: Ask, *, rng: np.random.Generator, step_s: int = STEP_S) -> Learnt:
    """A row each `step_s` seconds of each series, where an hour came before and all targets are known.

    A target that would end after its series is unknown, so a series that is cut at a moment teaches nothing of what
    came later.
    """
    made: list[Learnt] = []
    for one in series.values():
        at = np.arange(WARM_S, len(one), step_s, dtype=np.int64)
        for begin in range(0, len(at), CHUNK):
            some = at[begin : begin + CHUNK]
            target = np.stack([maxima(one, some, h) for h in ask.horizons_s], axis=1)
            seen = Seen(rows(one, some))
            good = seen.rows.fresh & np.isfinite(target).all(1)
            if good.any():
                made.append(Learnt(features=seen.features[good], level=seen.level[good], target=target[good]))
    if not made:
        return Learnt(features=np.zeros((0, 0)), level=np.zeros(0), target=np.zeros((0, len(ask.horizons_s))))
    whole = Learnt(
        features=np.concatenate([m.features for m in made]), level=np.concatenate([m.level for m in made]),
        target=np.concatenate([m.target for m in made]),
    )  # fmt: skip
    if len(whole) <= ROWS_MAX:
        return whole
    drawn = np.sort(rng.choice(len(whole), ROWS_MAX, replace=False))
    return Learnt(features=whole.features[drawn], level=whole.level[drawn], target=whole.target[drawn])


def train(
    series: Mapping[str, Series],
    *,
    rng: np.random.Generator,
    ask: Ask | None = None,
    step_s: int = STEP_S,
    clock: bool = True,
    tell: Tell = lambda: None,
) -> Models:
    """The models for use, pooled over classes; `untrained` where no class has 12 h of history.

    Without `clock` none of them looks at the time of day. `tell` is called `fits` times.
    """
    ask = ask or Ask()
    long = {name: one for name, one in series.items() if int(one.known.sum()) >= GROWN_S}
    learnt = gather(long, ask, rng=rng, step_s=step_s)
    if len(learnt) < ROWS_MIN:
        return untrained(ask)
    seed = int(rng.integers(2**31))
    experts: list[AnyExpert] = [
        boosted.fit(learnt.features, learnt.target, ask, clock=with_clock, trees=trees, seed=seed, tell=tell)
        for with_clock, trees in (((True, TREES), (False, TREES_SPARE)) if clock else ((False, TREES),))
    ]
    experts.append(ridge.fit(learnt.features, learnt.level, learnt.target, ask))
    return Models(
        experts=(*experts, *(expert for expert, _ in BASIC)),
        rank=(*(RANKS[expert.name] for expert in experts), *(rank for _, rank in BASIC)),
        ask=ask,
        pooled_from=float(np.percentile(learnt.level, POOLED_LOW)) if len(long) > 1 else None,
        trained_until=max(one.start + len(one) for one in long.values()),
        trained_rows=len(learnt),
    )


def holt_winters(one: Series, ask: Ask) -> holt.Holt:
    """Of one class; windows with unknown seconds are left out."""
    windows, slots = {}, {}
    for h in ask.horizons_s:
        first = -one.start % h  # so that windows have a place in the hour
        at = np.arange(first, len(one) - h + 1, h, dtype=np.int64)
        found = maxima(one, at, h)
        windows[h] = found[np.isfinite(found)]
        slots[h] = int((one.start + first) % holt.HOUR_S // h)
    return holt.fit(windows, start_slot=slots)


def lstms(learnt: Learnt, ask: Ask, *, rng: np.random.Generator) -> tuple[AnyExpert, AnyExpert]:
    """InfAdapter's, and the same for quantiles. Raises: ModuleNotFoundError without torch."""
    point = lstm_training.fit(learnt.features, learnt.target, ask, quantiles=False, rng=rng)
    return point, lstm_training.fit(learnt.features, learnt.target, ask, quantiles=True, rng=rng)
