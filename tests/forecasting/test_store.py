"""Stored models: the same forecasts after a round trip, and files that are none refused."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import msgspec
import numpy as np
import pytest

from forecasting import holt, store
from forecasting.errors import BadForecasters
from forecasting.ewma import Ewma
from forecasting.forecaster import Models, every, untrained
from forecasting.lstm import Lstm
from forecasting.rows import Series
from forecasting.seasonal import SeasonalNaive
from forecasting.store import dump_models, dump_state, load_models, load_state
from tests.forecasting.builders import at


def altered(data: bytes, **changes: Any) -> bytes:
    """The same archive with other fields in its header."""
    with np.load(io.BytesIO(data)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = {**msgspec.json.decode(arrays["header"].tobytes()), **changes}
    arrays["header"] = np.frombuffer(msgspec.json.encode(header), dtype=np.uint8)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def test_models_forecast_the_same_after_a_round_trip(models: Models, day: dict[str, Series]) -> None:
    """To the last bit, ranks and provenance included."""
    again = load_models(dump_models(models))
    seen = at(day["busy"], 45_000, 46_000)

    np.testing.assert_array_equal(every(again, seen), every(models, seen))
    assert (again.names, again.rank, again.ask) == (models.names, models.rank, models.ask)
    assert (again.pooled_from, again.trained_until, again.trained_rows) == (
        models.pooled_from, models.trained_until, models.trained_rows,
    )  # fmt: skip


def test_every_kind_of_forecaster_can_be_stored() -> None:
    """Those that are only shown in backtests, too."""
    rng = np.random.default_rng(1)
    lstm = Lstm(
        horizons_s=(20,), quantiles=(), scale=3.0, kernel=rng.normal(size=(1, 8)), recurrent=rng.normal(size=(2, 8)),
        bias=np.zeros(8), dense=np.ones((2, 1)), offset=np.zeros(1),
    )  # fmt: skip
    kept = holt.Holt(horizons_s=(20,), alpha=(0.5,), beta=(0.1,), phi=(0.9,), season=((0.0,),))
    made = msgspec.structs.replace(untrained(), experts=(lstm, kept, Ewma(0.7), SeasonalNaive()), rank=(1.0,) * 4)

    again = load_models(dump_models(made))

    assert again.experts[1:] == made.experts[1:]
    assert isinstance(again.experts[0], Lstm)
    np.testing.assert_array_equal(again.experts[0].kernel, lstm.kernel)


def test_file_is_no_pickle(models: Models) -> None:
    """NumPy reads every part of it with pickles forbidden."""
    with np.load(io.BytesIO(dump_models(models)), allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


def test_load_refuses_another_version_kind_or_features(models: Models) -> None:
    """The message says what it is."""
    data = dump_models(models)

    with pytest.raises(BadForecasters, match="models of version 2, wanted models of version 1"):
        load_models(altered(data, version=2))
    with pytest.raises(BadForecasters, match="models of version 1, wanted state"):
        load_state(data)
    with pytest.raises(BadForecasters, match="train again"):
        load_models(altered(data, features=["other"]))


@pytest.mark.parametrize("cut", [0, 1, 100, -10])
def test_load_refuses_what_was_cut_off(models: Models, cut: int) -> None:
    """Half a file, or none."""
    with pytest.raises(BadForecasters):
        load_models(dump_models(models)[:cut])


def test_load_refuses_objects_and_missing_arrays(models: Models) -> None:
    """An archive with a pickle in it, one without its header, and one that names an array that is not there."""
    evil = io.BytesIO()
    np.savez(evil, header=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    bare = io.BytesIO()
    np.savez(bare, other=np.zeros(3))
    text = msgspec.json.encode(untrained()).replace(b'"experts":[', b'"experts":[{"type":"ridge","horizons_s":[20],'
                               b'"weights":"a99","residuals":"a98"},')  # fmt: skip
    for data in (evil.getvalue(), bare.getvalue(), altered(dump_models(models), value=msgspec.Raw(text))):
        with pytest.raises(BadForecasters):
            load_models(data)


def test_load_refuses_too_much(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its size, and by the size that it claims to unpack to."""
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.npy", bytes(2 << 20))
    monkeypatch.setattr(store, "ARRAY_MAX", 1 << 20)
    with pytest.raises(BadForecasters, match="unpacked"):
        load_models(bomb.getvalue())
    monkeypatch.setattr(store, "BYTES_MAX", 10)
    with pytest.raises(BadForecasters, match="more than 10"):
        load_models(dump_models(models))


def test_state_is_no_models() -> None:
    """Kinds are told apart."""
    from forecasting.forecaster import Forecaster

    with pytest.raises(BadForecasters, match="wanted models"):
        load_models(dump_state(Forecaster(untrained()).start()))
