"""The whole of it, live: classes that come late, holes, restarts, new models."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from forecasting import history
from forecasting.backtest import walk
from forecasting.expert import Ask
from forecasting.forecaster import STEP_S, Forecaster, Models, State, untrained
from forecasting.history import CLASSES_MAX, OTHER
from forecasting.rows import series
from forecasting.store import dump_state, load_state
from tests.forecasting.builders import START, diurnal

SHORT = Ask(horizons_s=(20, 60), quantiles=(0.5, 0.9))


def run(forecaster: Forecaster, counts: list[dict[str, float]], state: State | None = None) -> State:
    """Observe each second from the state on, and remember a forecast each ten."""
    state = state or forecaster.start()
    begin = state.history.second or START
    for second, of in enumerate(counts, begin):
        state = forecaster.observe(state, second, of)
        if state.history.second % STEP_S == 0:
            state = forecaster.remember(state, forecaster.predict(state))
    return state


def equal(one: object, two: object) -> bool:
    """Every array of two structs, and every other field."""
    if isinstance(one, np.ndarray):
        return isinstance(two, np.ndarray) and one.dtype == two.dtype and np.array_equal(one, two, equal_nan=True)
    if isinstance(one, msgspec.Struct):
        return type(one) is type(two) and all(
            equal(getattr(one, name), getattr(two, name)) for name in one.__struct_fields__
        )
    if isinstance(one, tuple) and isinstance(two, tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two


def test_live_is_what_the_backtest_says(models: Models) -> None:
    """Second by second, with a hole: what is published is what `walk` finds in the whole series."""
    rate = diurnal(1.5, seed=21)
    rate[4_500:4_540] = 0
    forecaster = Forecaster(models)
    state = forecaster.start()
    live: dict[int, np.ndarray[tuple[int, int], np.dtype[np.float64]]] = {}
    for n, count in enumerate(rate):
        state = forecaster.observe(state, START + n, {"a": count})
        if (n + 1) % STEP_S == 0 and n + 1 >= 60:
            forecast = forecaster.predict(state)
            if forecast.fresh[0]:
                live[n + 1] = forecast.quantiles[0]
            state = forecaster.remember(state, forecast)

    walked = walk(series(rate, start=START), models, begin=60, step_s=STEP_S)

    assert len(walked.at) > 450
    for n, index in enumerate(walked.at.tolist()):
        if index < 4_500 - 180:  # near the hole a walk leaves moments out that live ones cannot know of
            np.testing.assert_allclose(live[index], walked.out[n], rtol=1e-9, err_msg=str(index))


def test_predict_some_horizons_and_quantiles(models: Models) -> None:
    """A part of what the models were trained for, and nothing else."""
    forecaster = Forecaster(models)
    state = run(forecaster, [{"a": 30.0}] * 100)
    whole, part = forecaster.predict(state), forecaster.predict(state, horizons_s=(60,), quantiles=(0.5, 0.95))

    assert part.quantiles.shape == (1, 1, 2)
    assert part.of("a", horizon_s=60, quantile=0.95) == whole.of("a", horizon_s=60, quantile=0.95)
    with pytest.raises(ValueError, match="not in"):
        forecaster.predict(state, horizons_s=(61,))


def test_constant_load_is_forecast_as_it_is() -> None:
    """After an hour of 20 a second, 20 is expected to a few per cent, and the forecaster says how well it did."""
    forecaster = Forecaster(untrained(SHORT))
    forecast = forecaster.predict(run(forecaster, [{"a": 20.0}] * 3_600))

    np.testing.assert_allclose(forecast.quantiles, 20.0, rtol=0.05)
    assert (forecast.loss < 0.05).all()
    assert forecast.fresh.all()


def test_zero_load_is_forecast_as_zero() -> None:
    """A class that fell silent beside one that did not."""
    forecaster = Forecaster(untrained(SHORT))
    state = run(forecaster, [{"a": 20.0, "b": 5.0}] * 600 + [{"a": 20.0}] * 3_600)
    forecast = forecaster.predict(state)

    assert forecast.of("b", horizon_s=60, quantile=0.9) < 0.1
    assert forecast.of("a", horizon_s=60, quantile=0.9) > 19


def test_without_classes_there_is_nothing_to_forecast(models: Models) -> None:
    """Before the first query."""
    forecaster = Forecaster(models)
    state = forecaster.observe(forecaster.start(), START, {})

    assert forecaster.predict(forecaster.start()).quantiles.shape == (0, 3, 3)
    assert forecaster.predict(state).quantiles.shape == (0, 3, 3)


def test_class_that_appears_late_is_forecast_from_its_own_seconds(models: Models) -> None:
    """A minute old: near its rate, from what needs no history; what was known of the others is as it was."""
    forecaster = Forecaster(models)
    before = run(forecaster, [{"old": 30.0}] * 1_200)
    state = run(forecaster, [{"late": 50.0, "old": 30.0}] * 60, before)
    forecast = forecaster.predict(state)
    trained = [k for k, expert in enumerate(models.experts) if expert.role == "grown"]

    assert forecast.classes == ("old", "late")
    assert 45 < forecast.of("late", horizon_s=60, quantile=0.9) < 75
    assert np.isnan(forecast.experts[trained, 1]).all()
    np.testing.assert_array_equal(state.online.own_weight[1, 0] < 6, True)
    assert state.online.own_weight[0, 0] > 100


def test_trained_models_wait_for_twelve_hours() -> None:
    """Without pooling; with it an hour is enough, for loads like those of the training."""
    forecaster = Forecaster(untrained(SHORT))
    state = run(forecaster, [{"a": 30.0}] * 100)
    born = START - np.array([12 * 3_600 - 100, 12 * 3_600 - 101])
    made = msgspec.structs.replace(
        state.history, classes=("a", "b"), born=born,
        **{f: np.repeat(getattr(state.history, f), 2, axis=0) for f in ("rate", "known", "jumps", "blocks")},
    )  # fmt: skip
    grown = msgspec.structs.replace(untrained(SHORT), experts=(*untrained(SHORT).experts, _Always()), rank=(1.0,) * 5)

    alone = Forecaster(grown).predict(msgspec.structs.replace(state, history=made))
    pooled = Forecaster(msgspec.structs.replace(grown, pooled_from=29.0)).predict(
        msgspec.structs.replace(state, history=made)
    )
    other = Forecaster(msgspec.structs.replace(grown, pooled_from=31.0)).predict(
        msgspec.structs.replace(state, history=made)
    )

    assert [np.isfinite(x.experts[-1]).all((1, 2)).tolist() for x in (alone, pooled, other)] == [
        [True, False], [True, True], [True, False],
    ]  # fmt: skip


def test_state_goes_through_bytes_and_on(models: Models) -> None:
    """A restart: the stored state, forecasts that are not over included, goes on as if nothing had been."""
    rng = np.random.default_rng(5)
    counts = [{"a": float(x), "b": float(y)} for x, y in rng.poisson((30, 2), (1_400, 2))]
    forecaster = Forecaster(models)
    before = run(forecaster, counts[:1_000])

    restored = load_state(dump_state(before))

    assert before.pending
    assert equal(restored, before)
    assert equal(run(forecaster, counts[1_000:], restored), run(forecaster, counts[1_000:], before))


def test_observe_changes_nothing_in_place(models: Models) -> None:
    """A state is a value: the old one is what it was after another second, a forecast, and a new class."""
    forecaster = Forecaster(models)
    state = run(forecaster, [{"a": 30.0}] * 400)
    kept = dump_state(state)

    run(forecaster, [{"a": 99.0, "b": 1.0}] * 200, state)

    assert equal(load_state(kept), state)


def test_new_models_keep_what_was_learned(models: Models) -> None:
    """From untrained to trained: the losses of experts that are in both stay, new ones begin blank."""
    young, grown = Forecaster(untrained()), Forecaster(models)
    state = run(young, [{"a": float(x)} for x in np.random.default_rng(1).poisson(20, 900)])
    names = models.names

    after = grown.observe(state, state.history.second, {"a": 20.0})

    old = state.online.weight[state.experts.index("last"), 0, 0]
    assert after.experts == names
    assert after.online.weight[names.index("last"), 0, 0] >= old > 10
    assert after.online.weight[names.index("boosted"), 0, 0] == 0
    assert len(after.pending) > 10


def test_seconds_left_out_are_a_hole() -> None:
    """Nothing is scored across it, and forecasts go on after half a minute."""
    forecaster = Forecaster(untrained(SHORT))
    state = run(forecaster, [{"a": 20.0}] * 300)
    gone = state.history.second + 40
    resumed = forecaster.observe(state, gone, {"a": 20.0})

    assert int((~resumed.history.known[0, -41:]).sum()) == 40
    assert not forecaster.predict(resumed).fresh[0]
    assert forecaster.predict(resumed).of("a", horizon_s=20, quantile=0.5) == pytest.approx(20, rel=0.05)
    np.testing.assert_array_equal(resumed.online.own_weight, state.online.own_weight)
    later = run(forecaster, [{"a": 20.0}] * 30, resumed)
    assert forecaster.predict(later).fresh[0]


def test_second_that_was_counted_is_refused() -> None:
    """Counting twice is a bug of the caller, and the state stays."""
    forecaster = Forecaster(untrained(SHORT))
    state = run(forecaster, [{"a": 20.0}] * 30)

    with pytest.raises(AssertionError, match="counted already"):
        forecaster.observe(state, state.history.second - 1, {"a": 1.0})


def test_history_after_a_long_silence_begins_anew() -> None:
    """Two hours without a word: the window is unknown, the day before is still there."""
    state = history.empty()
    for n in range(50):
        state = history.observe(state, START + n, {"a": 9.0})
    state = history.observe(state, START + 7_300, {"a": 4.0})

    assert int(state.known[0].sum()) == 1
    assert state.rate[0, -1] == 4
    assert int(np.isfinite(state.blocks[0]).sum()) == 5


def test_classes_beyond_the_bound_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for three and `other`."""
    monkeypatch.setattr(history, "CLASSES_MAX", 4)
    state = history.observe(history.empty(), START, {f"c{n}": 1.0 for n in range(6)})
    state = history.observe(state, START + 1, {"c0": 2.0, "c5": 3.0, "c9": 4.0})

    assert CLASSES_MAX == 1_024
    assert state.classes == ("c0", "c1", "c2", OTHER)
    assert state.rate[:, -2:].tolist() == [[1, 2], [1, 0], [1, 0], [3, 7]]


def test_class_idle_for_a_day_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the next full hour, once nothing of it is in the day's maxima."""
    start = START + 3_600 - START % 3_600 - 5
    state = history.observe(history.empty(), start, {"a": 1.0, "b": 1.0})
    blank = np.where(np.array([[True], [False]]), state.blocks, np.nan)
    idle = msgspec.structs.replace(
        state, rate=state.rate * np.array([[1], [0]], dtype=np.float32), blocks=blank, born=state.born - 90_000
    )
    for n in range(1, 7):
        idle = history.observe(idle, start + n, {"a": 1.0})

    assert idle.classes == ("a",)
    assert idle.rate[0, -1] == 1


class _Always(msgspec.Struct, frozen=True):
    """Stands for a model that was trained."""

    name: str = "trained"
    role: str = "grown"

    def predict(self, seen, ask):  # type: ignore[no-untyped-def]
        return np.ones((len(seen.rows), *ask.shape))
