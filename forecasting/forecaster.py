"""The forecaster: counts in, quantiles of the load to come out, for every class at once.

    forecaster = Forecaster(models)
    state = forecaster.start()
    state = forecaster.observe(state, second, counts)     # each second, when it is over
    forecast = forecaster.predict(state)                  # as often as wanted
    state = forecaster.remember(state, forecast)          # every STEP_S seconds: this one will be scored

State is a value: nothing is changed in place, so any of them can be kept, stored (`store.dump_state`) and gone back to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from forecasting import history as past
from forecasting import online
from forecasting.boosted import Boosted
from forecasting.ewma import Ewma
from forecasting.expert import Ask, Expert, Seen
from forecasting.headroom import Headroom
from forecasting.history import History
from forecasting.holt import Holt
from forecasting.last import LastValue
from forecasting.lstm import Lstm
from forecasting.negbin import NegativeBinomial
from forecasting.online import Online, Pending
from forecasting.ridge import Ridge
from forecasting.rows import Floats, Rows
from forecasting.seasonal import SeasonalNaive

STEP_S = 10
GROWN_S = 12 * 3_600  # a class's own history, before which trained models lose to the last value
POOLED_S = 3_600  # with models that saw classes like it
PENDING_MAX = 64

AnyExpert = LastValue | Headroom | Ewma | SeasonalNaive | Holt | Ridge | Boosted | NegativeBinomial | Lstm
BASIC: tuple[tuple[AnyExpert, float], ...] = (
    (NegativeBinomial(), 1.4), (LastValue(), 1.5), (Headroom(1.1), 1.55), (Headroom(1.3), 1.9),
)  # fmt: skip


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """What was trained, with the ranks by which experts count until they were scored (usual losses, up to a factor).

    `pooled_from`: mean rate from which classes without a history of their own are like those of the training; None if
    it saw but one class. `trained_until` is a second since the epoch, `trained_rows` what was learned from.
    """

    experts: tuple[AnyExpert, ...]
    rank: tuple[float, ...]
    ask: Ask
    pooled_from: float | None = None
    trained_until: int = 0
    trained_rows: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(expert.name for expert in self.experts)


def untrained(ask: Ask | None = None) -> Models:
    """What a new system begins with."""
    return Models(experts=tuple(e for e, _ in BASIC), rank=tuple(r for _, r in BASIC), ask=ask or Ask())


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that must survive a restart. `experts` and `ask` are those of `online`, not of the models."""

    history: History
    online: Online
    pending: tuple[Pending, ...]
    experts: tuple[str, ...]
    classes: tuple[str, ...]
    ask: Ask


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """Of the highest rate in the horizons that begin at `second`.

    Shapes: `quantiles` (n, H, Q); `experts` (K, n, H, Q); `level` (n,); `fresh` (n,): false in a hole. `loss`
            (n, H, Q): the recent mean pinball loss of what was published, in levels; `covered` (n, H, Q): the
            recent share that stayed under it; both NaN until something was scored.
    """

    second: int
    classes: tuple[str, ...]
    ask: Ask
    quantiles: Floats
    experts: Floats
    level: Floats
    fresh: npt.NDArray[np.bool_]
    loss: Floats
    covered: Floats

    def of(self, klass: str, *, horizon_s: int, quantile: float) -> float:
        """Queries a second. Raises: ValueError on a class, horizon or quantile that is not in it."""
        horizon, level = self.ask.horizons_s.index(horizon_s), self.ask.quantiles.index(quantile)
        return float(self.quantiles[self.classes.index(klass), horizon, level])


class Forecaster:
    """Models in use; it has no state of its own."""

    def __init__(self, models: Models) -> None:
        assert max(models.ask.horizons_s) <= PENDING_MAX * STEP_S
        self.models = models
        self._rank = np.array(models.rank)

    def start(self) -> State:
        ask = self.models.ask
        return State(
            history=past.empty(), online=online.begin(len(self.models.experts), 0, ask), pending=(),
            experts=self.models.names, classes=(), ask=ask,
        )  # fmt: skip

    def observe(self, state: State, second: int, counts: Mapping[str, float], *, hole: bool = False) -> State:
        """After the counts of `second`, which come in order; those left out are holes. Scores what is over by then.

        Raises: AssertionError on a second that is not later than the last one.
        """
        history = past.observe(state.history, second, counts, hole=hole)
        state = self._aligned(msgspec.structs.replace(state, history=history))
        learned, ask = state.online, state.ask
        for pending in state.pending:
            over = history.second - pending.second
            if over in ask.horizons_s:  # a second that was left out is a hole, and so is its target
                k = ask.horizons_s.index(over)
                learned = online.score(learned, pending, k, history.maxima(over), ask, step_s=STEP_S)
        left = tuple(p for p in state.pending if history.second - p.second < ask.horizons_s[-1])
        return msgspec.structs.replace(state, online=learned, pending=left)

    def predict(
        self, state: State, *, horizons_s: Sequence[int] | None = None, quantiles: Sequence[float] | None = None
    ) -> Forecast:
        """All classes, from now on; some or all of the horizons and quantiles that the models were trained for.

        Raises: ValueError on others.
        """
        state = self._aligned(state)
        ask, learned = self.models.ask, state.online
        rows = state.history.rows()
        seen = Seen(rows)
        experts = every(self.models, seen)
        out = online.mix(learned, experts, seen.level, self._rank)
        count = learned.own_weight[..., None]
        nothing = np.full_like(out, np.nan)
        full = Forecast(
            second=state.history.second, classes=state.history.classes, ask=ask, quantiles=out, experts=experts,
            level=seen.level, fresh=rows.fresh,
            loss=np.divide(learned.own_loss, count, out=nothing.copy(), where=count > 0),
            covered=np.divide(learned.covered, count, out=nothing, where=count > 0),
        )  # fmt: skip
        return full if horizons_s is None and quantiles is None else _part(full, horizons_s, quantiles)

    def remember(self, state: State, forecast: Forecast) -> State:
        """Score this forecast when it is over. Call it each STEP_S seconds, with all that was asked for in training.

        Raises: AssertionError on a part of a forecast, or one that is not later than the last one remembered.
        """
        state = self._aligned(state)
        assert forecast.ask == state.ask, "a part of a forecast cannot be scored"
        assert forecast.classes == state.classes, "a forecast of other classes"
        assert not state.pending or forecast.second > state.pending[-1].second
        stale = ~forecast.fresh
        experts, out = forecast.experts.copy(), forecast.quantiles.copy()
        experts[:, stale], out[stale] = np.nan, np.nan
        new = Pending(second=forecast.second, experts=experts, out=out, level=forecast.level)
        return msgspec.structs.replace(state, pending=(*state.pending, new)[-PENDING_MAX:])

    def _aligned(self, state: State) -> State:
        """The same with a row for each class of the history and each expert of the models, new ones blank."""
        classes, names, ask = state.history.classes, self.models.names, self.models.ask
        if (state.classes, state.experts, state.ask) == (classes, names, ask):
            return state
        blank = online.begin(len(names), len(classes), ask)
        if state.ask != ask:
            return msgspec.structs.replace(
                state, online=blank, pending=(), experts=names, classes=classes, ask=ask
            )  # fmt: skip
        rows = [(state.classes.index(c), i) for i, c in enumerate(classes) if c in state.classes]
        kinds = [(state.experts.index(e), k) for k, e in enumerate(names) if e in state.experts]
        shape = (len(names), len(classes), *ask.shape)

        def by_class(old: Floats, new: Floats) -> Floats:
            new = new.copy()
            for source, target in rows:
                new[target] = old[source]
            return new

        def by_expert(old: Floats, new: Floats) -> Floats:
            new = new.copy()
            for source, target in kinds:
                new[target] = by_class(old[source], new[target])
            return new

        learned = Online(
            loss=by_expert(state.online.loss, blank.loss), weight=by_expert(state.online.weight, blank.weight),
            **{name: by_class(getattr(state.online, name), getattr(blank, name))
               for name in ("shift", "own_loss", "covered", "own_weight")},
        )  # fmt: skip
        pending = tuple(
            Pending(
                second=p.second, experts=by_expert(p.experts, np.full(shape, np.nan)),
                out=by_class(p.out, np.full(shape[1:], np.nan)), level=by_class(p.level, np.ones(len(classes))),
            )
            for p in state.pending
        )  # fmt: skip
        return msgspec.structs.replace(state, online=learned, pending=pending, experts=names, classes=classes)


def every(models: Models, seen: Seen) -> Floats:
    """What each expert says of the rows that it is for, NaN elsewhere. Shapes: (K, n, H, Q)."""
    rows = seen.rows
    found = np.full((len(models.experts), len(rows), *models.ask.shape), np.nan)
    grown, young = _ages(models, rows, seen)
    for k, expert in enumerate(models.experts):
        found[k] = _for(expert, seen, {"always": np.ones(len(rows), dtype=np.bool_), "grown": grown, "young": young}
                        [expert.role], models.ask)  # fmt: skip
    return found


def _ages(models: Models, rows: Rows, seen: Seen) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    old = rows.age_s >= GROWN_S
    if models.pooled_from is None:
        return old, ~old
    return old | ((rows.age_s >= POOLED_S) & (seen.level >= models.pooled_from)), ~old


def _for(expert: Expert, seen: Seen, which: npt.NDArray[np.bool_], ask: Ask) -> Floats:
    if which.all():
        return expert.predict(seen, ask)
    found = np.full((len(which), *ask.shape), np.nan)
    if which.any():
        found[which] = expert.predict(Seen(seen.rows.take(which), seen.features[which]), ask)
    return found


def _part(full: Forecast, horizons_s: Sequence[int] | None, quantiles: Sequence[float] | None) -> Forecast:
    ask = Ask(
        horizons_s=full.ask.horizons_s if horizons_s is None else tuple(horizons_s),
        quantiles=full.ask.quantiles if quantiles is None else tuple(quantiles),
    )
    h = [full.ask.horizons_s.index(one) for one in ask.horizons_s]
    q = [full.ask.quantiles.index(one) for one in ask.quantiles]
    some = {name: getattr(full, name)[..., h, :][..., q] for name in ("quantiles", "experts", "loss", "covered")}
    return msgspec.structs.replace(full, ask=ask, **some)
