"""Models that are trained once a run, on an invented day of two classes."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting.forecaster import Models
from forecasting.rows import Series, series
from forecasting.training import train
from tests.forecasting.builders import START, diurnal


@pytest.fixture(scope="session")
def day() -> dict[str, Series]:
    return {
        "busy": series(diurnal(14, seed=11), start=START),
        "thin": series(diurnal(14, seed=12, mean=3), start=START),
    }


@pytest.fixture(scope="session")
def models(day: dict[str, Series]) -> Models:
    return train(day, rng=np.random.default_rng(1), step_s=40)
